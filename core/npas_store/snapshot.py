"""What all rows say at one moment, and the files that they name, while everything goes on."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from npas_store import blobs, garbage, homes, logs, uploads
from npas_store.database import reading
from npas_store.settings import settings
from npas_store.tables import Dataset, Job, ResumeFile

STAGING = "backup."
"""How the folder in a home begins in which a backup is put together; 8 hex digits follow."""

_TRIES = 5
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A moment of the database, and the files of it.

    Attributes:
        name: by which pg_dump finds the moment, as long as the block lasts that made it.
        missing: files that rows name and that are not there, below the home.
    """

    name: str
    missing: tuple[str, ...]


@contextmanager
def taken(folder: Path) -> Iterator[Snapshot]:
    """Take a snapshot; its files get a second name, below a folder, that no deletion takes away.

    Resume files of jobs that run go as newer ones come: when some are gone already, a newer
    moment is taken, and in the end one in which jobs start from an older file, or anew.

    Args:
        folder: empty, on the disk of the home.

    Raises:
        homes.HomeError: the home is not this database's.
        OSError: the disk is full, or knows no second names.
    """
    for tries in range(1, _TRIES + 1):
        with reading() as session, reading() as guard:
            garbage.hold(guard)  # no blob goes until all have their second name
            for each in (session, guard):
                _stay(each)
            homes.check(session)
            name = session.scalar(select(func.pg_export_snapshot()))
            missing = [*_link_all(session, folder)]
            guard.rollback()
            torn = any("/resume/" in each for each in missing)
            if torn and tries < _TRIES and _is_running(session):
                continue
            yield Snapshot(name=str(name), missing=tuple(missing))
            return


def _stay(session: Session) -> None:
    """Have the server wait for this transaction, which lasts long: for a dump, or all links."""
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _is_running(session: Session) -> bool:
    running = select(Job.id).where(Job.state.in_(("running", "cancelling"))).limit(1)
    return session.scalars(running).one_or_none() is not None


def _link_all(session: Session, folder: Path) -> Iterator[str]:
    """Link what rows name, and the logs; yield what is missing."""
    for column in garbage.REFERENCES:
        for sha256 in session.scalars(select(column).where(column.is_not(None)).distinct()):
            yield from _link(blobs.path(str(sha256)), folder)
    for path in session.scalars(select(ResumeFile.path)):
        yield from _link(settings().jobs / path, folder)
    arriving = select(Dataset.id, Dataset.received_bytes).where(
        Dataset.state.in_(("uploading", "processing"))
    )
    for dataset_id, received in session.execute(arriving):
        _copy(uploads.content(dataset_id), received, folder)
    for job_id in session.scalars(select(Job.id)):
        for parts in logs.of_claims(job_id).values():
            for part in parts:
                # One that is dropped just now is no loss.
                [*_link(part.path, folder)]


def _copy(file: Path, num_bytes: int, folder: Path) -> None:
    """Copy the beginning of a file that somebody writes; an upload without bytes has none."""
    target = folder / file.relative_to(settings().home)
    target.parent.mkdir(parents=True, exist_ok=True)
    left = num_bytes
    with (
        contextlib.suppress(FileNotFoundError),
        file.open("rb") as source,
        target.open("wb") as sink,
    ):
        while data := source.read(min(left, _CHUNK_BYTES)):
            left -= sink.write(data)


def _link(file: Path, folder: Path) -> Iterator[str]:
    name = file.relative_to(settings().home)
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.suppress(FileExistsError):  # of the moment before
            os.link(file, target)
    except FileNotFoundError:
        yield str(name)
