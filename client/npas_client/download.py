"""Fetches a file in as many pieces as the connection allows, and proves that it is the file."""

import hashlib
import time
from pathlib import Path

import httpx

from npas_client import errors

TRIES = 8
PAUSE_SECONDS = 0.25


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(http: httpx.Client, url: str, path: Path, *, sha256: str, num_bytes: int) -> Path:
    """Download to `path`, which appears only when it is whole and right.

    The part file carries the hash in its name, so that pieces of two different files never meet.

    Args:
        http: knows the service's address.
        url: of the file; must answer Range requests for a download to be resumed.
        path: the file to write; left alone if it holds these bytes already.
        sha256: of the file, in hex.
        num_bytes: of the file.

    Raises:
        DownloadError: the bytes that came are not the file's.
        ServiceError: the service refuses, or cannot be reached.
    """
    if path.is_file() and path.stat().st_size == num_bytes and sha256_of(path) == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{sha256[:16]}.part")
    part.touch()
    failure: errors.ServiceError | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_SECONDS * attempt)
        try:
            _append(http, url, part)
        except (httpx.TransportError, errors.UnavailableError) as error:
            failure = errors.UnreachableError(f"{path.name}: the download broke off ({error})")
            continue
        if part.stat().st_size == num_bytes and sha256_of(part) == sha256:
            return part.replace(path)
        failure = errors.DownloadError(
            f"{path.name}: {part.stat().st_size} bytes came that do not have the sha256 {sha256}"
        )
        part.write_bytes(b"")
    assert failure is not None
    raise failure


def _append(http: httpx.Client, url: str, part: Path) -> None:
    """Ask for what the part file lacks, and write it down as it comes."""
    have = part.stat().st_size
    headers = {"Accept-Encoding": "identity"}  # a compressed stream has other offsets
    if have:
        headers["Range"] = f"bytes={have}-"
    with http.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:  # it has all bytes, or too many: the hash will tell
            return
        if response.is_error:
            response.read()
            raise errors.from_response(response)
        is_rest = response.status_code == 206
        with part.open("ab" if is_rest else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
