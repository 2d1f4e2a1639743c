"""Who checks a dataset that has arrived: one process at a time, and another when it is lost.

A check is numbered, and every write of it names its number: one whose lease ran out, or whose
dataset was deleted, can change nothing any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from npas_store.blobs import Blob
from npas_store.json_values import finite
from npas_store.settings import settings
from npas_store.tables import Dataset
from npas_store.transitions import reason

INVALID = "invalid_data"
"""Code of the reason where the bytes are to blame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A dataset to be checked, and the number under which it is.

    Attributes:
        dataset_id: of the dataset.
        number: of the check, from 1.
        format: npz, images or parquet.
        options: how it is read.
        sha256: that its bytes must have, in hex; None: any.
    """

    dataset_id: str
    number: int
    format: str
    options: Mapping[str, Any]
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a check has found in a dataset that jobs can read.

    Attributes:
        facts: what a plan needs to know.
        report: all that there is to say.
        content: blob of the arrays.
        thumbnails: blob of the picture to look at; None: there is none.
    """

    facts: Mapping[str, Any]
    report: Mapping[str, Any]
    content: Blob
    thumbnails: Blob | None


def take(session: Session) -> Check | None:
    """Take the dataset that has waited longest, if there is one.

    One whose checks were lost too often is refused instead.
    """
    is_free = or_(Dataset.lease_until.is_(None), Dataset.lease_until < func.now())
    query = select(Dataset).where(Dataset.state == "processing", is_free)
    query = query.order_by(Dataset.received_at, Dataset.id).limit(1)
    while row := session.scalars(query.with_for_update(skip_locked=True)).one_or_none():
        if row.check_number >= settings().max_attempts:
            _give_up(row)
            session.flush()
            continue
        row.check_number += 1
        row.lease_until = func.now() + _lease()
        return Check(
            dataset_id=row.id,
            number=row.check_number,
            format=row.format,
            options=dict(row.options),
            sha256=row.upload_sha256,
        )
    return None


def renew(session: Session, check: Check) -> bool:
    """Keep a check for another lease; return whether it still counts."""
    return _change(session, check, {"lease_until": func.now() + _lease()})


def accept(session: Session, check: Check, found: Found) -> bool:
    """Make a dataset ready for jobs; return whether the check still counted."""
    changes = {
        "state": "ready",
        "facts": finite(found.facts),
        "report": finite(found.report),
        "reason": None,
        "content_sha256": found.content.sha256,
        "content_bytes": found.content.bytes,
        "thumbnails_sha256": found.thumbnails.sha256 if found.thumbnails else None,
    }
    return _end(session, check, changes)


def refuse(session: Session, check: Check, why: Mapping[str, str]) -> bool:
    """End a check whose data cannot be used; return whether it still counted.

    Args:
        why: a `transitions.reason`.
    """
    return _end(session, check, {"state": "invalid", "reason": dict(why)})


def fail(session: Session, check: Check, message: str) -> bool:
    """Have a check that was lost done again, after a pause that doubles each time.

    Args:
        message: what the machine did to it.

    Returns:
        Whether it still counted.
    """
    pause = settings().retry_seconds * 2 ** min(check.number - 1, 6)
    why = reason("check_lost", message)
    return _change(session, check, {"reason": why, "lease_until": _after(pause)})


def give_back(session: Session, check: Check, why: Mapping[str, str] | None, pause: float) -> bool:
    """End a check that nothing is to blame for; it is done again and does not count.

    Args:
        why: a `transitions.reason` that says what it waits for, if it does.
        pause: seconds until it may be begun again.

    Returns:
        Whether it still counted.
    """
    changes = {
        "check_number": check.number - 1,  # nobody holds it, so it may be given anew
        "lease_until": _after(pause),
        "reason": dict(why) if why else None,
    }
    return _change(session, check, changes)


def _give_up(row: Dataset) -> None:
    last = f", the last time: {row.reason['message']}" if row.reason else ""
    row.reason = reason(
        "check_lost",
        f"the process that checks it was lost {row.check_number} times{last}",
        hint="the machine is to blame, or the data ask too much of it; look into the log of the "
        "API, then send it again: POST /v1/datasets",
    )
    row.state, row.finished_at, row.lease_until = "invalid", func.now(), None


def _end(session: Session, check: Check, changes: Mapping[str, Any]) -> bool:
    return _change(session, check, {**changes, "finished_at": func.now(), "lease_until": None})


def _change(session: Session, check: Check, changes: Mapping[str, Any]) -> bool:
    own = (Dataset.id == check.dataset_id, Dataset.check_number == check.number)
    statement = update(Dataset).where(*own, Dataset.state == "processing").values(dict(changes))
    return session.scalar(statement.returning(Dataset.id)) is not None


def _lease() -> timedelta:
    return timedelta(seconds=settings().lease_seconds)


def _after(seconds: float) -> ColumnElement[Any]:
    return func.now() + timedelta(seconds=seconds)
