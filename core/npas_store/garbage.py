"""Blobs that no row names are deleted, and never one that a row is about to name.

Who names blobs holds a lock together with all others who do, from before it looks whether they are
there until its rows are committed (`hold`, `secure`). Who deletes holds it alone, and asks again
what the rows name. Whatever is cut off between a row and its file is collected later.
"""

import contextlib
import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from errno import EISDIR
from itertools import islice
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import InstrumentedAttribute, Session

from npas_store import blobs, homes
from npas_store.database import transaction
from npas_store.removal import Freed, remove_file
from npas_store.tables import Artifact, Dataset, Job

REFERENCES: tuple[InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ...] = (
    Artifact.sha256,
    Dataset.content_sha256,
    Dataset.thumbnails_sha256,
    Job.start_sha256,
)
"""All columns that name a blob."""

GRACE_SECONDS = 3600.0
"""A blob that nobody names is left alone for so long: its row may be on its way."""

_LOCK = 0x6E70617367  # "npasg"
_PATIENCE = "2s"
_BATCH = 100

_Item = TypeVar("_Item")

log = logging.getLogger(__name__)


def hold(session: Session) -> None:
    """Keep all blobs that are there until the end of the transaction."""
    session.execute(select(func.pg_advisory_xact_lock_shared(_LOCK)))


def secure(session: Session, files: Mapping[Path, blobs.Blob]) -> None:
    """Make sure that blobs which were put are there, until the end of the transaction.

    Since one was put, the last row that named it may have gone, and the blob with it; then it is
    put again. Every transaction that names blobs calls this first, or `hold`.

    Args:
        files: what was put, and what `blobs.put` returned for it.
    """
    hold(session)
    for file, blob in files.items():
        if blobs.state(blob) != "stored":
            blobs.put(file)


def referenced(session: Session, hashes: Iterable[str]) -> set[str]:
    """Return those of some blobs that a row names."""
    asked, found = list(hashes), set[str]()
    for column in REFERENCES:
        found.update(filter(None, session.scalars(select(column).where(column.in_(asked)))))
    return found


def collect(hashes: Iterable[str]) -> Freed:
    """Delete those of some blobs that no row names, and return what that freed.

    While others are about to name blobs it waits a moment, then leaves the rest for later; so it
    does with what the disk does not let go.

    Raises:
        homes.HomeError: the folder is not this database's.
    """
    freed = Freed()
    for batch in _batches(dict.fromkeys(hashes)):
        aside: dict[Path, Path] = {}
        try:
            with transaction() as session:
                if not _alone(session):
                    log.info("blobs are being named; what nobody names is deleted later")
                    return freed
                homes.check(session)
                for sha256 in set(batch) - referenced(session, batch):
                    _put_aside(blobs.path(sha256), aside)
        except BaseException:  # the lock may be lost, and a row name one of them since
            for file, moved in aside.items():
                with contextlib.suppress(OSError):
                    moved.rename(file)
            raise
        for moved in aside.values():
            freed += _delete(moved)
    return freed


def _put_aside(file: Path, aside: dict[Path, Path]) -> None:
    """Give a blob the name of a draft, which is deleted once the lock was held to the end."""
    moved = blobs.draft_of(file)
    try:
        if file.is_dir():
            raise IsADirectoryError(EISDIR, "a folder lies there", str(file))
        file.rename(moved)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("what nobody needs cannot be deleted: %s", error)
        return
    aside[file] = moved


def _delete(file: Path) -> Freed:
    try:
        return remove_file(file)
    except OSError as error:
        log.warning("what nobody needs cannot be deleted: %s", error)
        return Freed()


def _alone(session: Session) -> bool:
    """Take the lock alone, if that is possible within a moment."""
    session.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
    try:
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available
            raise
        session.rollback()
        return False
    return True


def old_files(*, seconds: float) -> Iterator[Path]:
    """Yield the files of the blob store that have lain there for so long, drafts included.

    Folder by folder, in another order each time: who has little time comes to all in the end.
    """
    folders = [*blobs.root().glob("??/??")]
    random.shuffle(folders)
    limit = time.time() - seconds
    for folder in folders:
        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # somebody was quicker
                if file.is_file() and file.stat().st_ctime <= limit:
                    yield file


def collect_old(*, until: float, seconds: float) -> Freed:
    """Delete old blobs that no row names, and old drafts; return what that freed.

    Args:
        until: when to stop, of the monotonic clock.
        seconds: how long they have lain there at least.

    Raises:
        homes.HomeError: the folder is not this database's.
        OSError: a folder cannot be read.
    """
    freed = Freed()
    for files in _batches(old_files(seconds=seconds)):
        if time.monotonic() > until:
            break
        freed += collect(file.name for file in files if blobs.is_name(file.name))
        for draft in (file for file in files if blobs.is_draft(file.name)):
            freed += _delete(draft)
    return freed


def _batches(items: Iterable[_Item]) -> Iterator[tuple[_Item, ...]]:
    left = iter(items)
    while batch := tuple(islice(left, _BATCH)):
        yield batch
