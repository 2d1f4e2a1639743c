"""What is new of many jobs at once, in one statement: for those who watch them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

MOST = 100
"""Events of one job that a sighting has at most: the newest."""

_LOOK = text(
    "SELECT j.id, j.state, j.event_seq, e.seq, e.at, e.level, e.type, e.message, e.data "
    "FROM unnest(CAST(:ids AS text[]), CAST(:seqs AS integer[])) AS known (id, seq) "
    "JOIN jobs j ON j.id = known.id LEFT JOIN LATERAL ("
    " SELECT * FROM events WHERE events.job_id = j.id AND j.event_seq > known.seq"
    " AND events.seq > greatest(known.seq, j.event_seq - :most) ORDER BY events.seq LIMIT :most"
    ") e ON true ORDER BY j.id, e.seq"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenEvent:
    """An event, as its row has it."""

    seq: int
    at: datetime
    level: str
    type: str
    message: str
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """A job at one moment.

    Args:
        state: of the job.
        last: number of its newest event.
        events: those after the known one, without gaps up to the last; the newest `MOST`.
    """

    state: str
    last: int
    events: list[SeenEvent] = field(default_factory=list)


def look(session: Session, known: Mapping[str, int]) -> dict[str, Sighting]:
    """Return what is new of each of these jobs; those that are not there are left out.

    Args:
        known: job id -> number of the newest event that is known, 0 for none.
    """
    values = {"ids": list(known), "seqs": list(known.values()), "most": MOST}
    seen: dict[str, Sighting] = {}
    rows: Iterable[Any] = session.execute(_LOOK, values)
    for job_id, state, last, *event in rows:
        if job_id not in seen:
            seen[job_id] = Sighting(state=state, last=last)
        if event[0] is not None:
            seq, at, level, type_, message, data = event
            seen[job_id].events.append(
                SeenEvent(seq=seq, at=at, level=level, type=type_, message=message, data=data)
            )
    return seen
