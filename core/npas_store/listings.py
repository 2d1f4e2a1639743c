"""Reads lists of jobs and results, a page at a time.

A page is asked for by the last row of the one before it, not by a number of rows to skip: it costs
the same however deep, and rows that arrive meanwhile neither repeat nor hide others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, literal, literal_column, select, text, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from npas_store.tables import Job, Transition

ORDERS: Mapping[str, InstrumentedAttribute[Any]] = {
    "created_at": Job.created_at,
    "finished_at": Job.finished_at,
    "accuracy": Job.accuracy,
    "parameters": Job.parameters,
}
"""What lists can be sorted by. Rows with nothing there are left out of the list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A place in a sorted list: that of the row with this value and id."""

    value: datetime | float
    id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """How a list is sorted; equal values by id, so that every row has one place."""

    by: str
    descending: bool = True

    def __post_init__(self) -> None:
        assert self.by in ORDERS, self.by

    def place(self, job: Job | Row[Any]) -> Place:
        """Return where a row stands in this order."""
        return Place(value=getattr(job, self.by), id=job.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which jobs: all that agree with everything given. Empty and None ask for nothing.

    Args:
        states: any of these.
        sweep: id of the sweep that they belong to.
        labels: all of these pairs.
        max_parameters: trainable parameters of the planned network.
        min_accuracy: top-1 on the test images, 0..1.
        parent_id: of the job that they were made of.
    """

    states: Sequence[str] = ()
    architecture: str | None = None
    dataset: str | None = None
    method: str | None = None
    sweep: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    max_parameters: int | None = None
    min_accuracy: float | None = None
    parent_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A part of a list, and whether the list goes on."""

    jobs: Sequence[Row[Any]]
    has_more: bool


_HISTORY = (
    "coalesce((SELECT json_agg(json_build_object('from_state', t.from_state,"
    " 'to_state', t.to_state, 'at', t.at, 'attempt', t.attempt, 'reason', t.reason)"
    " ORDER BY t.id) FROM transitions t WHERE t.job_id = jobs.id), '[]')"
)
_COLUMNS: ColumnElement[Any] = literal_column("jobs.*")
"""All of a row: named one by one, they take longer to compile than to read."""
_TRANSITIONS: ColumnElement[Any] = literal_column(_HISTORY).label("transitions")
_ROWS = select(_COLUMNS).select_from(Job.__table__)
_SHOWN = select(_COLUMNS, _TRANSITIONS).select_from(Job.__table__)
_VIEW = text(f"SELECT jobs.*, {_HISTORY} AS transitions FROM jobs WHERE jobs.id = :job_id")


def view(session: Session, job_id: str) -> Row[Any] | None:
    """Return the columns of a job and, as JSON, its `transitions`; None: there is none."""
    return session.execute(_VIEW, {"job_id": job_id}).one_or_none()


def jobs(
    session: Session, wanted: Filter, *, order: Order, after: Place | None, limit: int
) -> Page:
    """Return one page of jobs, each with its `transitions`.

    Args:
        wanted: which jobs.
        order: how they are sorted.
        after: where the page before ended, None for the first page.
        limit: rows at most; > 0.
    """
    return _page(
        session,
        _SHOWN.where(*_conditions(wanted)),
        order,
        after,
        limit,
    )


def results(
    session: Session, wanted: Filter, *, order: Order, after: Place | None, limit: int
) -> Page:
    """Return one page of the jobs that delivered a network, those cancelled on the way included.

    Args: as for `jobs`.
    """
    delivered = _ROWS.where(Job.result.is_not(None), Job.accuracy.is_not(None))
    return _page(session, delivered.where(*_conditions(wanted)), order, after, limit)


def histories(session: Session, job_ids: Sequence[str]) -> dict[str, list[Transition]]:
    """Return every change of state of each of these jobs, the oldest first."""
    found: dict[str, list[Transition]] = {job_id: [] for job_id in job_ids}
    rows = select(Transition).where(Transition.job_id.in_(job_ids)).order_by(Transition.id)
    for row in session.scalars(rows):
        found[row.job_id].append(row)
    return found


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    equal = {
        Job.architecture: wanted.architecture,
        Job.dataset: wanted.dataset,
        Job.method: wanted.method,
        Job.sweep_id: wanted.sweep,
        Job.parent_id: wanted.parent_id,
    }
    conditions = [column == value for column, value in equal.items() if value is not None]
    if wanted.states:
        conditions.append(Job.state.in_(wanted.states))
    if wanted.labels:
        conditions.append(Job.labels.contains(dict(wanted.labels)))
    if wanted.created_after is not None:
        conditions.append(Job.created_at > wanted.created_after)
    if wanted.max_parameters is not None:
        conditions.append(Job.parameters <= wanted.max_parameters)
    if wanted.min_accuracy is not None:
        conditions.append(Job.accuracy >= wanted.min_accuracy)
    return conditions


def _page(
    session: Session, found: Select[Any], order: Order, after: Place | None, limit: int
) -> Page:
    column = ORDERS[order.by]
    key = tuple_(column, Job.id)
    if after is not None:
        place = tuple_(literal(after.value, column.type), literal(after.id))
        found = found.where(key < place if order.descending else key > place)
    found = found.where(column.is_not(None)).limit(limit + 1)
    if order.descending:
        found = found.order_by(column.desc(), Job.id.desc())
    else:
        found = found.order_by(column, Job.id)
    rows = session.connection().execute(found).all()
    return Page(jobs=rows[:limit], has_more=len(rows) > limit)
