"""Datasets that users send, as users see them: declare, look up, list, name in a job, remove.

How their bytes arrive is in `uploads`, how they are checked in `checks`.
"""

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from npas.errors import DataError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, defer

from npas_store import blobs, garbage, homes
from npas_store.database import UNREACHABLE, reading, transaction
from npas_store.removal import Freed, remove_folder
from npas_store.settings import settings
from npas_store.states import TERMINAL
from npas_store.tables import Dataset, IdempotencyKey, Job

PREFIX = "uploaded:"
"""What stands before the id where a job names one of these datasets."""

WEIGHTS = "weights"
"""The format of uploads that are no datasets: jobs start from them."""

LIBRARY_FOLDER = "NPAS_UPLOADED_FOLDER"
"""Variable by which processes that use the library are told of `settings().datasets`."""

log = logging.getLogger(__name__)

_MAX_NAMED = 5
_AGAIN = "send it again: POST /v1/datasets"


class NoSuchDatasetError(LookupError):
    """There is no dataset with this id."""


class DatasetInUseError(Exception):
    """Jobs that have not ended read the dataset; the message names some of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which datasets: all that agree with everything given. Empty and None ask for nothing.

    Args:
        format: of the upload; None: any but weights, which are no datasets.
        name: of the user's.
        states: any of these.
        labels: all of these pairs.
    """

    format: str | None = None
    name: str | None = None
    states: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def file(dataset_id: str) -> Path:
    """Return where the library finds the arrays of a dataset."""
    return settings().datasets / f"{dataset_id}.npz"


def materialise(dataset_id: str, sha256: str) -> Path:
    """Give the blob of a dataset the name under which the library finds it, and return that.

    Raises:
        FileNotFoundError: there is no such blob.
    """
    blob, target = blobs.path(sha256), file(dataset_id)
    if target.exists() and target.samefile(blob):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        os.link(blob, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)  # also where both names were the same file already
    return target


def look_up(session: Session, dataset_id: str) -> Dataset:
    """Return a dataset.

    Raises:
        NoSuchDatasetError: there is none.
    """
    row = session.get(Dataset, dataset_id)
    if row is None:
        raise NoSuchDatasetError(f"there is no dataset {dataset_id!r}")
    return row


def listing_page(
    session: Session, wanted: Wanted, *, after: str | None, limit: int
) -> tuple[Sequence[Dataset], bool]:
    """Return some datasets, the newest first, without their reports, and whether there are more.

    Args:
        wanted: which.
        after: id of the last one of the page before.
        limit: rows at most; > 0.
    """
    query = select(Dataset).options(defer(Dataset.report, raiseload=True))
    is_weights, asked = Dataset.format == WEIGHTS, wanted.format
    query = query.where(~is_weights if asked is None else Dataset.format == asked)
    if wanted.name is not None:
        query = query.where(Dataset.name == wanted.name)
    if wanted.states:
        query = query.where(Dataset.state.in_(wanted.states))
    if wanted.labels:
        query = query.where(Dataset.labels.contains(dict(wanted.labels)))
    if after is not None:  # ids sort by the time of creation
        query = query.where(Dataset.id < after)
    rows = session.scalars(query.order_by(Dataset.id.desc()).limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit


def require_ready(name: str) -> None:
    """Make sure that a dataset that a job names can be read, if it is one that a user sent.

    Raises:
        DataError: it was deleted, is not ready, or its bytes are not what they were.
    """
    if not name.startswith(PREFIX):
        return
    with reading() as session:
        row = _ready(session.get(Dataset, name.removeprefix(PREFIX)), name)
    assert row.content_sha256 is not None
    assert row.content_bytes is not None
    found = blobs.state(blobs.Blob(sha256=row.content_sha256, bytes=row.content_bytes))
    if found != "stored":
        raise _unusable(name, f"its bytes on the server's disk are {found}; {_AGAIN}")
    materialise(row.id, row.content_sha256)


def chosen(session: Session, name: str) -> str | None:
    """Return the hash of a dataset that a user sent, which stays until the transaction ends.

    Args:
        name: as a job says it; of other datasets nothing is returned.

    Raises:
        DataError: it was deleted, or is not ready.
    """
    if not name.startswith(PREFIX):
        return None
    dataset_id = name.removeprefix(PREFIX)
    row = session.get(Dataset, dataset_id, with_for_update={"read": True})
    return _ready(row, name).content_sha256


def weights(session: Session, sha256: str, *, is_held: bool = False) -> Dataset | None:
    """Return weights that a user sent, checked, by their SHA-256; None: there are none.

    Args:
        is_held: whether they stay on record until the end of the transaction, in which a job may
            name them.
    """
    own = (Dataset.content_sha256 == sha256, Dataset.format == WEIGHTS, Dataset.state == "ready")
    query = select(Dataset).where(*own).order_by(Dataset.id).limit(1)
    if is_held:
        query = query.with_for_update(read=True, key_share=True)
    return session.scalars(query).one_or_none()


def verify(name: str, sha256: str | None) -> None:
    """Make sure that a job reads the very arrays that it was accepted with.

    Args:
        name: of the job's dataset.
        sha256: recorded with the job; None: its dataset is none of these.

    Raises:
        DataError: they are gone, or are others.
    """
    if sha256 is None:
        return
    try:
        path = materialise(name.removeprefix(PREFIX), sha256)
        is_same = blobs.measure(path).sha256 == sha256
    except FileNotFoundError:
        raise _unusable(name, f"it is no longer on the server's disk; {_AGAIN}") from None
    if not is_same:
        raise _unusable(name, f"its bytes were damaged on the server's disk; {_AGAIN}")


def delete_dataset(dataset_id: str) -> Freed:
    """Delete a dataset, in whatever state, and return what that freed.

    Its row goes first. Files that cannot be deleted now are collected later.

    Raises:
        NoSuchDatasetError: there is none.
        DatasetInUseError: a job that has not ended reads it.
    """
    with transaction() as session:
        row = session.get(Dataset, dataset_id, with_for_update=True)
        if row is None:
            raise NoSuchDatasetError(f"there is no dataset {dataset_id!r}")
        in_use = select(Job.id).where(Job.dataset == PREFIX + row.id, Job.state.not_in(TERMINAL))
        found = session.scalars(in_use.order_by(Job.id).limit(_MAX_NAMED + 1)).all()
        if found:
            more = ", ..." if len(found) > _MAX_NAMED else ""
            raise DatasetInUseError(", ".join(found[:_MAX_NAMED]) + more)
        session.delete(row)
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource == row.id))
    named = [sha for sha in (row.content_sha256, row.thumbnails_sha256) if sha]
    freed = Freed()
    try:
        file(dataset_id).unlink(missing_ok=True)  # a second name of the arrays
        freed = remove_folder(settings().uploads / dataset_id)
        freed += garbage.collect(named)
    except (OSError, homes.HomeError, *UNREACHABLE) as error:
        log.warning("files of %s are left for later: %s", dataset_id, error)
    return freed


def _ready(row: Dataset | None, name: str) -> Dataset:
    if row is None:
        raise _unusable(name, f"there is none with this id, or it was deleted; {_AGAIN}")
    if row.format == WEIGHTS:
        told = "they are weights; a job starts from them by start.checkpoint, their SHA-256"
        raise _unusable(name, told)
    if row.state == "ready":
        return row
    why = {
        "uploading": f"{row.received_bytes:,} of its {row.upload_bytes:,} bytes have arrived; "
        "send the rest",
        "processing": "it is being checked; ask again when its state is ready",
        "invalid": f"it was refused: {(row.reason or {}).get('message', '')}",
    }
    raise _unusable(name, why[row.state])


def _unusable(name: str, why: str) -> DataError:
    return DataError(f"dataset {name[:100]} cannot be used: {why}", field="/dataset")
