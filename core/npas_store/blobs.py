"""Files by their content: a blob's name is its SHA-256, and once there it never changes."""

import functools
import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from npas_store.settings import settings

State = Literal["stored", "missing", "damaged"]

_HASH = re.compile(r"[0-9a-f]{64}")
_DRAFT = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """What a file holds: `sha256` in hex, and its size in `bytes`."""

    sha256: str
    bytes: int


def path(sha256: str) -> Path:
    """Return where a blob lies, or would lie; the file can be sent as it is, ranges included.

    Raises:
        ValueError: not a SHA-256 in lower-case hex.
    """
    if not _HASH.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is not a SHA-256 in lower-case hex")
    return root() / sha256[:2] / sha256[2:4] / sha256


def root() -> Path:
    """Return the folder of all blobs; they lie in `ab/cd`, by the first digits of their names."""
    return settings().blobs / "sha256"


def is_name(name: str) -> bool:
    """Tell whether a file of this name, in the store, is a blob."""
    return _HASH.fullmatch(name) is not None


def is_draft(name: str) -> bool:
    """Tell whether a file of this name, in the store, is one of `draft_of`."""
    return _DRAFT.fullmatch(name) is not None


def draft_of(file: Path) -> Path:
    """Return a new name beside a blob's: of one that is being written, or about to be deleted."""
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}")


def measure(file: Path) -> Blob:
    """Return hash and size of a file."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return Blob(sha256=digest.hexdigest(), bytes=stream.tell())


def state(blob: Blob) -> State:
    """Tell whether a blob is there, and is what it was.

    Its bytes are read once, and again when the disk says that the file is another.
    """
    file = path(blob.sha256)
    try:
        found = file.stat()
        if found.st_size != blob.bytes:
            return "damaged"
        version = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return "stored" if _digest(file, version) == blob.sha256 else "damaged"
    except FileNotFoundError:
        return "missing"
    except OSError:  # there, and cannot be read
        return "damaged"


@functools.lru_cache(maxsize=10_000)
def _digest(file: Path, _version: tuple[int, ...]) -> str:
    return measure(file).sha256


def put(file: Path) -> Blob:
    """Copy a file into the store and return its name there; a damaged blob is replaced.

    The copy is complete or absent, also after a power cut: it is written under another name,
    brought to disk, then renamed. It may go at any time until a row names it; the transaction in
    which one does calls `garbage.secure` first.
    """
    blob = measure(file)
    target = path(blob.sha256)
    if state(blob) == "stored":
        return blob
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(target)
    try:
        with file.open("rb") as source, draft.open("xb") as sink:
            shutil.copyfileobj(source, sink)
            sink.flush()
            os.fsync(sink.fileno())
        draft.chmod(0o444)
        if target.is_dir():  # somebody's mistake, and the one thing that a file does not replace
            shutil.rmtree(target)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(target.parent)
    return blob


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
