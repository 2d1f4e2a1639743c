"""The events of a job: what its user would want to be told, in order, without gaps."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from npas_store.json_values import finite
from npas_store.tables import Event, Job

Level = Literal["info", "warning", "error"]


def append(
    session: Session,
    job_id: str,
    type: str,
    message: str,
    data: Mapping[str, Any] | None = None,
    *,
    level: Level = "info",
) -> int:
    """Add one event and return its number.

    The job's row is locked until the end of the transaction, which is what keeps the numbers
    without gaps and in the order in which readers see them appear. A worker must hold its lease
    in the same transaction (`claims.guard`).
    """
    seq = session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(event_seq=Job.event_seq + 1)
        .returning(Job.event_seq)
        .execution_options(synchronize_session=False)
    ).scalar_one()
    session.add(
        Event(
            job_id=job_id,
            seq=seq,
            level=level,
            type=type,
            message=message,
            data=finite(data or {}),
        )
    )
    session.flush()
    return seq


def after(session: Session, job_id: str, seq: int = 0, limit: int = 100) -> Sequence[Event]:
    """Return up to `limit` events with a number above `seq`, the oldest first."""
    query = select(Event).where(Event.job_id == job_id, Event.seq > seq)
    return session.scalars(query.order_by(Event.seq).limit(limit)).all()
