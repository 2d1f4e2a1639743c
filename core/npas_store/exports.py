"""Exports of delivered networks: asked for, made by one process at a time, kept as artifacts.

A try is numbered, and every write of it names its number, which no other try is ever given: one
whose lease ran out, that was given back, or whose job was deleted, can change nothing any more.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from npas.spec.export import ExportSpec
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from npas_store import artifacts, blobs
from npas_store.blobs import Blob
from npas_store.database import reading
from npas_store.export_tables import Export
from npas_store.jobs import NoSuchJobError
from npas_store.json_values import fingerprint, finite
from npas_store.lineage import MODEL
from npas_store.settings import settings
from npas_store.tables import Job, new_id
from npas_store.transitions import reason

FOLDER = re.compile(r"export-(exp_[0-9a-f]+)-([0-9]+)")
"""Name of a try's folder, in that of its job: the export, and the number of the try."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """An export to be made, and the number under which it is.

    Attributes:
        export_id: of the export.
        job_id: of the job.
        number: of the try, from 1; of no other.
        attempt: how many tries count up to this one, since the export was asked for.
        spec: what was asked for.
        model: hash of the network's file; None: the job has none any more.
    """

    export_id: str
    job_id: str
    number: int
    attempt: int
    spec: Mapping[str, Any]
    model: str | None


def request_export(
    session: Session, job_id: str, spec: ExportSpec, facts: Mapping[str, Any]
) -> tuple[Export, bool]:
    """Ask for an export of a job; return it, and whether it is to be made.

    The same one asked for again is that one. It is made again where it failed, or where its file
    is not on the server's disk as it was.

    Args:
        session: of the transaction.
        job_id: of the job.
        spec: what is asked for, its format by the one name that it has.
        facts: what is known of it before it is made.

    Raises:
        NoSuchJobError: the job was deleted.
    """
    if not _is_held(session, job_id):
        raise NoSuchJobError(f"there is no job {job_id!r}")
    asked = spec.model_dump(mode="json")
    own = {"job_id": job_id, "request_fingerprint": fingerprint(asked)}
    values = {"id": new_id("exp"), "spec": asked, "facts": dict(facts), **own}
    made = insert(Export).values(values).on_conflict_do_nothing().returning(Export.id)
    is_new = session.scalar(made) is not None
    row = session.scalars(select(Export).filter_by(**own).with_for_update()).one()
    if row.state == "failed" or (row.state == "succeeded" and not _is_stored(session, row)):
        row.state, row.reason, row.attempts, row.finished_at = "queued", None, 0, None
        row.lease_until, row.artifact, row.facts, is_new = None, None, dict(facts), True
        session.flush()
    return row, is_new


def _is_stored(session: Session, row: Export) -> bool:
    found = artifacts.find(session, row.job_id, row.artifact) if row.artifact else None
    if found is None:
        return False
    return blobs.state(Blob(sha256=found.sha256, bytes=found.bytes)) == "stored"


def forget_file(session: Session, job_id: str, name: str, found: str) -> None:
    """Record that the file of an export is lost: it has failed, and may be asked for again.

    Args:
        session: of the transaction.
        job_id: of the job.
        name: of the artifact.
        found: its state on the disk: missing or damaged.
    """
    if (lost := artifacts.find(session, job_id, name)) is not None:
        session.delete(lost)
    why = reason(
        "export_lost", f"its file is {found} on the server's disk", hint="ask for it again"
    )
    made = (Export.job_id == job_id, Export.artifact == name, Export.state == "succeeded")
    session.execute(update(Export).where(*made).values(state="failed", reason=why, artifact=None))


def unneeded_folders() -> Iterator[Path]:
    """Yield the folders of tries that are no longer made: who made them was killed."""
    found = {path: FOLDER.fullmatch(path.name) for path in settings().jobs.glob("job_*/export-*")}
    ids = {match[1] for match in found.values() if match}
    with reading() as session:
        query = select(Export.id, Export.number).where(Export.id.in_(ids))
        running = {(key, n) for key, n in session.execute(query.where(Export.state == "running"))}
    for path, match in found.items():
        if match and (match[1], int(match[2])) not in running:
            yield path


def exports_of(session: Session, job_id: str) -> Sequence[Export]:
    """Return all exports of a job, the oldest first."""
    query = select(Export).where(Export.job_id == job_id)
    return session.scalars(query.order_by(Export.created_at, Export.id)).all()


def export_of(session: Session, job_id: str, export_id: str) -> Export | None:
    """Return one export of a job, if there is one of that id."""
    row = session.get(Export, export_id)
    return row if row is not None and row.job_id == job_id else None


def take_export(session: Session) -> Making | None:
    """Take the export that has waited longest, if there is one.

    One whose tries were lost too often fails instead.
    """
    is_free = or_(Export.lease_until.is_(None), Export.lease_until < func.now())
    query = select(Export).where(Export.state.in_(("queued", "running")), is_free)
    query = query.order_by(Export.created_at, Export.id).limit(1)
    while row := session.scalars(query.with_for_update(skip_locked=True)).one_or_none():
        if row.attempts >= settings().max_attempts:
            _give_up(row)
            session.flush()
            continue
        row.number += 1
        row.attempts += 1
        row.state, row.lease_until = "running", func.now() + _lease()
        model = artifacts.find(session, row.job_id, MODEL)
        return Making(
            export_id=row.id,
            job_id=row.job_id,
            number=row.number,
            attempt=row.attempts,
            spec=dict(row.spec),
            model=None if model is None else model.sha256,
        )
    return None


def renew_export(session: Session, making: Making) -> bool:
    """Keep a try for another lease; return whether it still counts."""
    return _change(session, making, {"lease_until": func.now() + _lease()})


def accept_export(
    session: Session, making: Making, name: str, blob: Blob, facts: Mapping[str, Any]
) -> bool:
    """Make the file an artifact of its job; return whether the try still counted.

    An export before it is replaced; beside a file of another kind under that name it fails.

    Args:
        making: the try.
        name: of the artifact.
        blob: its bytes, which `garbage.secure` has seen in the same transaction.
        facts: what is told of it.
    """
    if not _is_held(session, making.job_id):
        return False
    there = artifacts.find(session, making.job_id, name)
    if there is not None and there.kind != "export":
        why = f"the job has delivered a file of its own as {name}, which no export replaces"
        hint = "report it: the format needs another file name"
        return refuse_export(session, making, reason("export_failed", why, hint=hint))
    changes = {"state": "succeeded", "artifact": name, "facts": finite(facts), "reason": None}
    if not _end(session, making, changes):
        return False
    artifacts.record(session, making.job_id, name, blob, kind_of_file="export")
    return True


def refuse_export(session: Session, making: Making, why: Mapping[str, str]) -> bool:
    """End a try whose network cannot be written so; return whether it still counted.

    Args:
        making: the try.
        why: a `transitions.reason`.
    """
    return _end(session, making, {"state": "failed", "reason": dict(why)})


def lose_export(session: Session, making: Making, message: str) -> bool:
    """Have a try that was lost made again, after a pause that doubles each time.

    Args:
        making: the try.
        message: what the machine did to it.

    Returns:
        Whether it still counted.
    """
    pause = settings().retry_seconds * 2 ** min(making.attempt - 1, 6)
    why = reason("export_lost", message)
    changes = {"state": "queued", "reason": why, "lease_until": _after(pause)}
    return _change(session, making, changes)


def give_export_back(
    session: Session, making: Making, why: Mapping[str, str] | None = None, pause: float = 0.0
) -> bool:
    """End a try that nothing is to blame for; it is made again and does not count.

    Args:
        making: the try.
        why: a `transitions.reason` that says what it waits for, if it does.
        pause: seconds until it may be begun again.

    Returns:
        Whether it still counted.
    """
    changes = {
        "state": "queued",
        "attempts": making.attempt - 1,
        "lease_until": _after(pause),
        "reason": dict(why) if why else None,
    }
    return _change(session, making, changes)


def _is_held(session: Session, job_id: str) -> bool:
    """Keep a job's row until the end of the transaction; return whether there is one.

    It comes before the job's other rows, as for who deletes it.
    """
    held = select(Job.id).where(Job.id == job_id)
    return session.scalar(held.with_for_update(read=True, key_share=True)) is not None


def _give_up(row: Export) -> None:
    last = f", the last time: {row.reason['message']}" if row.reason else ""
    row.reason = reason(
        "export_lost",
        f"the process that makes it was lost {row.attempts} times{last}",
        hint="look into the log of the API; then ask for it again",
    )
    row.state, row.finished_at, row.lease_until = "failed", func.now(), None


def _end(session: Session, making: Making, changes: Mapping[str, Any]) -> bool:
    return _change(session, making, {**changes, "finished_at": func.now(), "lease_until": None})


def _change(session: Session, making: Making, changes: Mapping[str, Any]) -> bool:
    own = (Export.id == making.export_id, Export.number == making.number)
    statement = update(Export).where(*own, Export.state == "running").values(dict(changes))
    return session.scalar(statement.returning(Export.id)) is not None


def _lease() -> timedelta:
    return timedelta(seconds=settings().lease_seconds)


def _after(seconds: float) -> ColumnElement[Any]:
    return func.now() + timedelta(seconds=seconds)
