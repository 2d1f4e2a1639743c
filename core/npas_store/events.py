"""The events of a job: what its user would want to be told, in order, without gaps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from npas_store.json_values import finite
from npas_store.tables import Event

Level = Literal["info", "warning", "error"]

_APPEND = text(
    "WITH numbered AS ("
    " UPDATE jobs SET event_seq = event_seq + :count WHERE id = :job_id"
    " RETURNING event_seq - :count AS before"
    ") "
    "INSERT INTO events (job_id, seq, level, type, message, data) "
    "SELECT :job_id, before + place, level, type, message, data FROM numbered, ROWS FROM ("
    " jsonb_to_recordset(CAST(:news AS jsonb))"
    " AS (level text, type text, message text, data jsonb)"
    ") WITH ORDINALITY AS told (level, type, message, data, place) "
    "RETURNING seq"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """An event that is not written yet.

    Args:
        type: stable word for programs.
        message: sentence for people.
        data: for programs; NaN and infinity are stored as null.
    """

    type: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
    level: Level = "info"


def append(
    session: Session,
    job_id: str,
    type: str,
    message: str,
    data: Mapping[str, Any] | None = None,
    *,
    level: Level = "info",
) -> int:
    """Add one event and return its number; see `append_all`."""
    return append_all(
        session, job_id, [News(type=type, message=message, data=data or {}, level=level)]
    )


def append_all(session: Session, job_id: str, news: Sequence[News]) -> int:
    """Add events in this order, in one statement, and return the number of the last.

    The job's row is locked until the end of the transaction, which is what keeps the numbers
    without gaps and in the order in which readers see them appear. A worker must hold its lease
    in the same transaction (`claims.guard`).

    Args:
        news: at least one.
    """
    session.flush()
    rows = [
        {
            "level": told.level,
            "type": told.type,
            "message": told.message,
            "data": finite(told.data),
        }
        for told in news
    ]
    values = {"job_id": job_id, "count": len(rows), "news": json.dumps(rows)}
    [*_, last] = session.scalars(_APPEND, values)
    return int(last)


def after(
    session: Session, job_id: str, seq: int = 0, limit: int = 100, *, types: Sequence[str] = ()
) -> Sequence[Event]:
    """Return up to `limit` events with a number above `seq`, the oldest first.

    Args:
        types: any of these; none: all.
    """
    query = select(Event).where(Event.job_id == job_id, Event.seq > seq)
    if types:
        query = query.where(Event.type.in_(types))
    return session.scalars(query.order_by(Event.seq).limit(limit)).all()
