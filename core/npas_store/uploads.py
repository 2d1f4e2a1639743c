"""How the bytes of a dataset arrive: in parts, each where the last one ended.

The row says how many bytes are safely here; what the file holds beyond them, of a part that was
cut off with the process that took it, is written again. Whoever writes holds a lock of the kernel
on the file, which ends with its process, and every change of the row names the number of bytes
that it continues.
"""

import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from npas_store import blobs, datasets, homes
from npas_store.database import reading, transaction
from npas_store.settings import settings
from npas_store.tables import Dataset, new_id
from npas_store.transitions import reason

_LOCK = 0x6E706173647331  # "npasds1": of two that declare, each counts the other
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DRAFT_SECONDS = 3600.0
MEGABYTE = 1024 * 1024


class TooManyUploadsError(Exception):
    """As many uploads as may be are unfinished."""


class NoRoomError(Exception):
    """The disk would have less room left than it must; the message says how much."""


class UploadBusyError(Exception):
    """Another request writes the upload at this moment."""


class UploadEndedError(Exception):
    """The dataset takes no more bytes; the message is its state."""


class OffsetError(Exception):
    """A part does not begin where the last one ended.

    Attributes:
        received: bytes that are here.
    """

    def __init__(self, received: int) -> None:
        super().__init__(received)
        self.received = received

    def __str__(self) -> str:
        return f"{self.received} bytes are here"


def folder_of(dataset_id: str) -> Path:
    """Return the folder of what is on its way, and of its check."""
    return settings().uploads / dataset_id


def content(dataset_id: str) -> Path:
    """Return the file of the bytes as they were sent."""
    return folder_of(dataset_id) / "upload"


def spare_bytes() -> int:
    """Return how many bytes uploads and exports may write; negative: the disk is too full."""
    home = settings().home
    home.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(home).free - settings().free_megabytes * MEGABYTE


def require_room(num_bytes: int) -> None:
    """Make sure that so many bytes may be written.

    Raises:
        OSError: the disk would have less room left than the settings say.
    """
    if spare_bytes() < num_bytes:
        raise OSError(errno.ENOSPC, "NPAS_FREE_MEGABYTES of room are to be left on it")


def declare(
    session: Session,
    *,
    dataset_id: str,
    name: str,
    format: str,
    options: Mapping[str, Any],
    labels: Mapping[str, str],
    num_bytes: int,
    sha256: str | None,
) -> Dataset:
    """Make a dataset whose bytes are yet to come.

    Args:
        dataset_id: `new_dataset_id`.
        name: the user's; datasets may share one, as versions do.
        format: npz, images or parquet.
        options: how it is read.
        labels: the user's.
        num_bytes: that will come.
        sha256: of those, in hex; None: not known.

    Raises:
        TooManyUploadsError: as many as may be are unfinished.
        NoRoomError: with those that are on their way, it would leave too little room.
    """
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    to_come = func.coalesce(func.sum(Dataset.upload_bytes - Dataset.received_bytes), 0)
    query = select(func.count(), to_come).where(Dataset.state == "uploading")
    number, others = session.execute(query).one()
    if number >= settings().max_uploads:
        raise TooManyUploadsError
    if (free := spare_bytes() - int(others)) < num_bytes:
        raise NoRoomError(f"{max(0, free):,} bytes are free for uploads")
    values = {
        **{"id": dataset_id, "name": name, "format": format, "upload_bytes": num_bytes},
        **{"options": dict(options), "labels": dict(labels), "upload_sha256": sha256},
    }
    return session.scalars(insert(Dataset).values(values).returning(Dataset)).one()


def new_dataset_id() -> str:
    """Return an id for `declare`."""
    return new_id("ds")


class Part:
    """Bytes of one request on their way into a dataset's file; from `open` to `close`.

    Attributes:
        total: bytes of the whole upload.
        received: bytes that are here, those of this part included.
        kept: those of them that are recorded: what is left of the part if it breaks off now.
    """

    def __init__(self, row: Dataset, file: int) -> None:
        """Go on after the bytes that a row counts; `open` checks that this may be done."""
        self._dataset_id, self._file, self.total = row.id, file, row.upload_bytes
        self.received = self.kept = row.received_bytes
        self._lock = threading.Lock()  # a request may be ended while a thread writes for it

    @classmethod
    def open(cls, dataset_id: str, start: int) -> "Part":
        """Begin a part.

        Args:
            start: bytes before it.

        Raises:
            NoSuchDatasetError: there is none with this id.
            UploadEndedError: it takes no more bytes.
            UploadBusyError: another request is writing.
            OffsetError: other bytes are here than those before `start`.
            NoRoomError: the disk is full.
        """
        _arriving(dataset_id)
        with _telling_of_full_disks():
            folder = folder_of(dataset_id)
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                blobs.sync_folder(folder.parent)
            file = os.open(content(dataset_id), os.O_RDWR | os.O_CREAT, 0o600)
            blobs.sync_folder(folder)
        try:
            _take(file)
            row = _arriving(dataset_id)  # again: only now nobody else changes it
            if start != row.received_bytes:
                raise OffsetError(row.received_bytes)
            if os.fstat(file).st_size < row.received_bytes:
                _reset(row, os.fstat(file).st_size)
            os.ftruncate(file, row.received_bytes)
            os.lseek(file, row.received_bytes, os.SEEK_SET)
        except BaseException:
            os.close(file)
            raise
        return cls(row, file)

    def write(self, chunk: bytes | bytearray) -> None:
        """Take more bytes; they are not safe before `keep`.

        Raises:
            NoRoomError: the disk is full; what was taken before stays.
        """
        view = memoryview(chunk)
        with self._lock, _telling_of_full_disks():
            while view:
                written = os.write(self._file, view)
                self.received += written
                view = view[written:]

    def keep(self) -> None:
        """Bring to disk and record what was taken; the last byte ends the upload.

        Raises:
            UploadEndedError: the dataset was deleted, or given up, meanwhile.
            NoRoomError: the disk has less room left than it must; what was taken is kept.
        """
        with self._lock:
            if self.received > self.kept:
                with _telling_of_full_disks():
                    os.fsync(self._file)
                self._record()
        if self.received < self.total and (free := spare_bytes()) < 0:
            raise NoRoomError(f"{-free:,} bytes are missing")

    def close(self) -> None:
        """Let others write."""
        with self._lock:
            os.close(self._file)

    def _record(self) -> None:
        changes: dict[str, Any] = {"received_bytes": self.received}
        if self.received == self.total:
            changes |= {"state": "processing", "received_at": func.now()}
        own = (Dataset.id == self._dataset_id, Dataset.state == "uploading")
        continues = Dataset.received_bytes == self.kept
        with transaction() as session:
            statement = update(Dataset).where(*own, continues).values(changes)
            if session.scalar(statement.returning(Dataset.id)) is None:
                raise UploadEndedError("no longer there, or given up")
        self.kept = self.received


def expire_once() -> int:
    """Give up uploads that are not whole in time, clear up behind all, and return how many.

    Safe to call at any time, from anywhere.
    """
    hours = settings().upload_hours
    why = reason(
        "upload_expired",
        f"the bytes did not all arrive within {hours:g} hours",
        hint="send it again: POST /v1/datasets",
    )
    full = reason(
        "disk_full",
        f"the server's disk had no room for what its check makes, for {hours:g} hours",
        hint="send fewer or smaller images, or once there is room send it again",
    )
    ago = func.now() - timedelta(hours=hours)
    waits = (Dataset.state == "processing", Dataset.reason["code"].astext == full["code"])
    with transaction() as session:
        homes.check(session)
        given_up = [
            *_end(session, why, Dataset.state == "uploading", Dataset.created_at < ago),
            *_end(session, full, *waits, Dataset.received_at < ago),
        ]
    for path in unneeded():
        delete(path)
    for draft in settings().datasets.glob(".*"):
        if _age(draft) > _DRAFT_SECONDS:
            draft.unlink(missing_ok=True)
    return len(given_up)


def _end(session: Session, why: Mapping[str, str], *where: ColumnElement[bool]) -> Sequence[str]:
    ended = {"state": "invalid", "reason": dict(why), "finished_at": func.now()}
    changed = update(Dataset).where(*where).values({**ended, "lease_until": None})
    return session.scalars(changed.returning(Dataset.id)).all()


def clear_up(dataset_id: str) -> None:
    """Delete what was sent: it is checked."""
    shutil.rmtree(folder_of(dataset_id), ignore_errors=True)


def unneeded() -> Iterator[Path]:
    """Yield the files and folders of datasets that are gone, or in a state that needs none."""
    yield from _unneeded(settings().uploads, "", ("uploading", "processing"))
    yield from _unneeded(settings().datasets, ".npz", ("ready",))


def _unneeded(place: Path, suffix: str, states: tuple[str, ...]) -> Iterator[Path]:
    found = {path.name.removesuffix(suffix): path for path in place.glob(f"ds_*{suffix}")}
    with reading() as session:
        query = select(Dataset.id).where(Dataset.id.in_(found), Dataset.state.in_(states))
        kept = set(session.scalars(query))
    yield from (path for dataset_id, path in found.items() if dataset_id not in kept)


def delete(path: Path) -> None:
    """Delete what `unneeded` told of."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_ctime
    except FileNotFoundError:
        return 0.0


def _reset(row: Dataset, size: int) -> None:
    """Record that bytes of an upload are gone from the disk; it goes on where they end.

    Raises:
        OffsetError: always; the client is told where to go on.
    """
    own = (Dataset.id == row.id, Dataset.state == "uploading")
    continues = Dataset.received_bytes == row.received_bytes
    with transaction() as session:
        session.execute(update(Dataset).where(*own, continues).values(received_bytes=size))
    raise OffsetError(size)


def _arriving(dataset_id: str) -> Dataset:
    with reading() as session:
        row = datasets.look_up(session, dataset_id)
    if row.state != "uploading":
        raise UploadEndedError(row.state)
    return row


def _take(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UploadBusyError from None


@contextmanager
def _telling_of_full_disks() -> Iterator[None]:
    """Turn the error of a full disk into our own."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoRoomError(str(error.strerror)) from error
        raise
