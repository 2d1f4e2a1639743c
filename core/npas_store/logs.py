"""What each claim's training said: one log a claim, of bounded size, the oldest dropped.

A log lies beside the claim's working folder, in parts that are named by the byte of the whole with
which they begin: `e3.log`, then `e3.5242880.log`. So a place in it stays a place when older parts
go, and a reader can follow.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from npas_store.removal import Freed, remove_file
from npas_store.resume_files import folder
from npas_store.settings import settings

_NAME = re.compile(r"e(\d+)(?:\.(\d+))?\.log")
_IN_URL = re.compile(rb"(://[^/\s:@]*:)[^/\s@]+(?=@)")
_LONG_SECRET = 8
"""A password of fewer letters may be a word; it is masked in addresses alone."""
_HIDDEN = b"***"
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a claim's log: the bytes from `start` to `stop` of the whole."""

    path: Path
    start: int
    stop: int


def _path(job_id: str, claim_number: int, start: int) -> Path:
    of_claim = folder(job_id, claim_number)
    return of_claim.with_name(of_claim.name + (f".{start}.log" if start else ".log"))


def of_claims(job_id: str) -> Mapping[int, Sequence[Piece]]:
    """Return the parts of a job's logs by the number of their claim, in order."""
    found: dict[int, list[Piece]] = {}
    for path in (settings().jobs / job_id).glob("e*.log"):
        name = _NAME.fullmatch(path.name)
        with contextlib.suppress(OSError):  # dropped just now
            if name is not None and path.is_file():
                start = int(name[2] or 0)
                part = Piece(path=path, start=start, stop=start + path.stat().st_size)
                found.setdefault(int(name[1]), []).append(part)
    return {number: sorted(found[number], key=lambda part: part.start) for number in sorted(found)}


def read(part: Piece, start: int) -> Iterator[bytes]:
    """Yield the bytes of a part from a place of the whole on; nothing if it was dropped.

    No more than there was when the part was looked at, so that it is known where reading ends.
    """
    try:
        with part.path.open("rb") as file:
            file.seek(max(0, start - part.start))
            left = part.stop - max(start, part.start)
            while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk
    except OSError:
        return


def whole(parts: Sequence[Piece]) -> bytes:
    """Return what is kept of a claim's log."""
    return b"".join(chunk for part in parts for chunk in read(part, part.start))


def last_lines(parts: Sequence[Piece], count: int) -> tuple[int, int]:
    """Return where the last lines of a claim's log begin, and how many: fewer if it has fewer.

    Args:
        parts: all of the claim.
        count: lines wanted, > 0.
    """
    data = whole(parts)
    if not data:
        return parts[-1].stop if parts else 0, 0
    kept = data.removesuffix(b"\n").split(b"\n")[-count:]
    size = sum(len(line) + 1 for line in kept) - (not data.endswith(b"\n"))
    return parts[0].start + len(data) - size, len(kept)


def last_line(job_id: str, claim_number: int) -> str:
    """Return the last line of a claim's log that says something, "" if there is none."""
    parts = of_claims(job_id).get(claim_number, ())
    lines = whole(parts).decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")


def delete_logs(job_id: str) -> Freed:
    """Delete the logs of a job.

    Raises:
        OSError: one cannot be deleted.
    """
    freed = Freed()
    for parts in of_claims(job_id).values():
        for part in parts:
            freed += remove_file(part.path)
    return freed


class LogFile:
    """The log of a claim, to write to; it keeps at least the last half of what it may hold.

    What cannot be written, as on a full disk, is lost, and that is said as soon as it can be: a
    training does not wait for its log.
    """

    def __init__(self, job_id: str, claim_number: int, *, most_bytes: int) -> None:
        """Write nothing yet."""
        self._job_id, self._claim_number = job_id, claim_number
        self._part_bytes = max(1, most_bytes // 2)
        self._file: BinaryIO | None = None
        self._starts = [0]
        self._at = self._lost = 0

    def write(self, data: bytes) -> None:
        """Add to it, and drop the oldest part when there is too much."""
        try:
            if self._lost:
                told = b"npas: %d bytes of this log could not be written\n" % self._lost
                self._write(told)
                self._lost = 0
            self._write(data)
        except OSError:
            self._lost += len(data)

    def close(self) -> None:
        """Close the file; what follows opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._at - self._starts[-1] + len(data) > self._part_bytes and self._at:
            self._begin_part()
        if self._file is None:
            path = _path(self._job_id, self._claim_number, self._starts[-1])
            self._file = path.open("ab", buffering=0)
        while data:
            written = self._file.write(data)
            self._at, data = self._at + (written or 0), data[written:]

    def _begin_part(self) -> None:
        self.close()
        self._starts.append(self._at)
        while len(self._starts) > 2:
            remove_file(_path(self._job_id, self._claim_number, self._starts.pop(0)))


def secrets() -> tuple[bytes, ...]:
    """Return the passwords of the servers, as they may be written; the short ones left out."""
    found = set[str]()
    for url in (settings().database_url, settings().redis_url):
        parts = urlsplit(url or "")
        queried = parse_qs(parts.query).get("password", [])
        for word in filter(None, (parts.password, *queried)):
            found |= {word, unquote(word)}
    return tuple(os.fsencode(word) for word in sorted(found) if len(word) >= _LONG_SECRET)


def masked(data: bytes, hidden: Sequence[bytes]) -> bytes:
    """Return text without the passwords of addresses in it, and without some words.

    Args:
        data: whole lines.
        hidden: the words, such as `secrets`.
    """
    for word in hidden:
        data = data.replace(word, _HIDDEN)
    return _IN_URL.sub(rb"\g<1>" + _HIDDEN, data)
