"""A backup is one tar: a dump of the database, files, and last of all a list of them with hashes.

The list comes last, so that an archive that was cut off has none. Only names that a backup has are
read from one, and only plain files.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

DUMP = "database.dump"
LIST = "manifest.json"
FORMAT = 1
_CHUNK_BYTES = 1 << 20
_JOB = r"jobs/job_[0-9a-f]{32}"
_NAMES = re.compile(
    rf"{re.escape(DUMP)}|blobs/sha256/[0-9a-f]{{2}}/[0-9a-f]{{2}}/[0-9a-f]{{64}}"
    rf"|uploads/ds_[0-9a-f]{{32}}/upload|{_JOB}/e\d+/resume/\d+|{_JOB}/e\d+(\.\d+)?\.log",
    re.ASCII,
)


class ArchiveError(Exception):
    """A file is no whole backup; the message says what is wrong with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file in a backup: its size in `bytes`, and the SHA-256 of them."""

    bytes: int
    sha256: str


class _Hashing(io.RawIOBase):
    """Reads from a file, and hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def write(folder: Path, target: IO[bytes], about: Mapping[str, Any]) -> dict[str, Member]:
    """Write all files of a folder as a backup; return them by name.

    Args:
        folder: its files may grow meanwhile; what they hold when their turn comes is written.
        about: more of the list, for people and later versions.
    """
    members: dict[str, Member] = {}
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = str(path.relative_to(folder))
            with path.open("rb") as file:
                info = _info(name, path.stat().st_size)
                hashing = _Hashing(file)
                tar.addfile(info, hashing)
            members[name] = Member(bytes=info.size, sha256=hashing.digest.hexdigest())
        files = {name: {"bytes": m.bytes, "sha256": m.sha256} for name, m in members.items()}
        text = json.dumps({"format": FORMAT, **about, "files": files}, indent=1).encode()
        tar.addfile(_info(LIST, len(text)), io.BytesIO(text))
    return members


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def unpack(source: IO[bytes], folder: Path) -> dict[str, Member]:
    """Write the files of a backup into a folder, and check them against the list.

    Raises:
        ArchiveError: it is no backup, or not whole, or damaged.
        OSError: it cannot be read, or the folder not be written.
    """
    found: dict[str, Member] = {}
    listed: dict[str, Member] | None = None
    try:
        with tarfile.open(fileobj=source, mode="r:") as tar:
            for info in tar:
                if listed is not None:
                    raise ArchiveError(f"{info.name!r} comes after the list, which is the end")
                content = tar.extractfile(info) if info.isreg() else None
                if content is None or not (info.name == LIST or _NAMES.fullmatch(info.name)):
                    raise ArchiveError(f"{info.name!r} is nothing that a backup has")
                if info.name == LIST:
                    listed = _listed(content.read())
                elif info.name in found:
                    raise ArchiveError(f"{info.name!r} is there twice")
                else:
                    found[info.name] = _copy(content, folder / info.name)
    except tarfile.TarError as error:
        raise ArchiveError(f"it is no tar archive, or was cut off ({error})") from error
    _compare(found, listed)
    return found


def _copy(content: IO[bytes], target: Path) -> Member:
    target.parent.mkdir(parents=True, exist_ok=True)
    hashing = _Hashing(content)
    size = 0
    with target.open("xb") as file:
        while data := hashing.read(_CHUNK_BYTES):
            size += file.write(data)
    return Member(bytes=size, sha256=hashing.digest.hexdigest())


def _listed(text: bytes) -> dict[str, Member]:
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ArchiveError(
                f"it has format {document['format']}, this version reads {FORMAT}; "
                "use the version of npas that made it, or a later one"
            )
        return {name: Member(**values) for name, values in document["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"its list cannot be read ({error})") from error


def _compare(found: Mapping[str, Member], listed: Mapping[str, Member] | None) -> None:
    if listed is None:
        raise ArchiveError("it was cut off: the list that ends it is not there")
    wrong = sorted(_wrong(found, listed))
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ArchiveError(f"damaged: {', '.join(wrong[:3])}{more}")
    if DUMP not in found:
        raise ArchiveError("it has no dump of a database")


def _wrong(found: Mapping[str, Member], listed: Mapping[str, Member]) -> Iterator[str]:
    for name in found.keys() | listed.keys():
        if found.get(name) != listed.get(name):
            yield name
