"""How sweeps are doing: made of their jobs whenever it is asked, so that it is never out of date.

A job that was tried again, by a retry in the same sweep, is stood for by the newer one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Float, Select, cast, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, defer, load_only

from npas_store import workers
from npas_store.listings import Place
from npas_store.states import TERMINAL, State
from npas_store.tables import Job, Sweep

_ENDED_AS: Sequence[State] = ("failed", "cancelled", "succeeded")
"""What a sweep ended as: the first of these that any of its jobs ended as."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSummary:
    """How a sweep is doing.

    Attributes:
        counts: jobs by state.
        is_cancelling: whether the end of all jobs that go on was asked for.
        progress: mean of the jobs, one that ended counts as done; 0..1.
        eta_seconds: a rough guess: what is left of the jobs, over the workers; None: not known.
        started_at: when the first job was; None: none was yet.
        finished_at: when the last job was; None: they have not all ended.
    """

    counts: Mapping[str, int]
    is_cancelling: bool
    progress: float
    eta_seconds: float | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_terminal(self) -> bool:
        """Whether all jobs have ended."""
        return not self.counts.keys() - set(TERMINAL)

    @property
    def state(self) -> State:
        """One word for all jobs."""
        if self.is_terminal:
            return next((state for state in _ENDED_AS if self.counts.get(state)), "succeeded")
        if self.is_cancelling:
            return "cancelling"
        return "queued" if self.counts.keys() == {"queued"} else "running"


@dataclass(kw_only=True, slots=True)
class _Sums:
    """What is added up over the jobs of a sweep."""

    counts: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    done: float = 0.0
    left: float = 0.0
    unknown: int = 0
    lasted: float = 0.0
    started_at: datetime | None = None
    finished_at: datetime | None = None


def summaries(session: Session, sweeps: Sequence[Sweep]) -> dict[str, SweepSummary]:
    """Return how each of these sweeps is doing, by id."""
    sums = {sweep.id: _Sums() for sweep in sweeps}
    for row in session.execute(_added_up([sweep.id for sweep in sweeps])):
        _add(sums[row.sweep_id], row)
    num_workers = len([w for w in workers.present(session) if w.trouble is None])
    return {sweep_id: _summary(each, num_workers) for sweep_id, each in sums.items()}


def page(
    session: Session,
    *,
    labels: Mapping[str, str],
    created_after: datetime | None,
    descending: bool,
    after: Place | None,
    limit: int,
) -> tuple[Sequence[Sweep], bool]:
    """Return one page of sweeps by the time of creation, and whether the list goes on.

    Args:
        labels: that they have, all of these.
        created_after: only younger ones.
        descending: the newest first.
        after: where the page before ended.
        limit: rows at most; > 0.
    """
    query, key = select(Sweep), tuple_(Sweep.created_at, Sweep.id)
    if labels:
        query = query.where(Sweep.labels.contains(dict(labels)))
    if created_after is not None:
        query = query.where(Sweep.created_at > created_after)
    if after is not None:
        place = tuple_(literal(after.value, Sweep.created_at.type), literal(after.id))
        query = query.where(key < place if descending else key > place)
    if descending:
        query = query.order_by(Sweep.created_at.desc(), Sweep.id.desc())
    else:
        query = query.order_by(Sweep.created_at, Sweep.id)
    rows = session.scalars(query.limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit


def trials(session: Session, sweep_id: str) -> Sequence[Job]:
    """Return the jobs of a sweep, in their order, with what is compared of them alone."""
    few = (Job.state, Job.accuracy, Job.parameters, Job.dense_parameters, Job.sweep_point)
    named = (Job.architecture, Job.method, Job.budget_parameters)
    query = select(Job).where(Job.id.in_(_newest([sweep_id]))).options(load_only(*few, *named))
    return session.scalars(query.order_by(Job.created_at, Job.id)).all()


def members(session: Session, sweep_id: str, after: Place | None, limit: int) -> Sequence[Job]:
    """Return jobs of a sweep in their order, retried ones too, without their long reports.

    Args:
        after: the last one of the rows before; None: from the first one.
        limit: rows at most.
    """
    query = select(Job).where(Job.sweep_id == sweep_id).order_by(Job.created_at, Job.id)
    if after is not None:
        place = tuple_(literal(after.value, Job.created_at.type), literal(after.id))
        query = query.where(tuple_(Job.created_at, Job.id) > place)
    return session.scalars(query.options(defer(Job.result)).limit(limit)).all()


def _newest(sweep_ids: Sequence[str]) -> Select[str]:
    """Return the query of the jobs that stand for their points: the last of all retries."""
    place = (Job.sweep_id, Job.sweep_point)
    query = select(Job.id).where(Job.sweep_id.in_(sweep_ids)).ext(distinct_on(*place))
    return query.order_by(*place, Job.created_at.desc(), Job.id.desc())


def _added_up(sweep_ids: Sequence[str]) -> Any:
    """Return the query of a row for each sweep and state of its jobs."""
    lasted = func.extract("epoch", Job.finished_at - Job.started_at)
    estimated = cast(Job.estimate["seconds"].astext, Float)
    left = func.coalesce(Job.eta_seconds, estimated)
    return (
        select(
            Job.sweep_id,
            Job.state,
            func.count().label("count"),
            func.sum(Job.progress).label("done"),
            func.coalesce(func.sum(left), 0.0).label("left"),
            (func.count() - func.count(left)).label("unknown"),
            func.count().filter(Job.cancel_requested).label("asked"),
            func.sum(lasted).label("lasted"),
            func.min(Job.started_at).label("started_at"),
            func.max(Job.finished_at).label("finished_at"),
        )
        .where(Job.id.in_(_newest(sweep_ids)))
        .group_by(Job.sweep_id, Job.state)
    )


def _add(sums: _Sums, row: Any) -> None:
    sums.counts[row.state] += row.count
    sums.started_at = min(filter(None, (sums.started_at, row.started_at)), default=None)
    sums.finished_at = max(filter(None, (sums.finished_at, row.finished_at)), default=None)
    if row.state in TERMINAL:
        sums.done += row.count
        if row.state == "succeeded":
            sums.lasted = float(row.lasted or 0.0)
    else:
        sums.asked += row.asked
        sums.done += float(row.done)
        sums.left += float(row.left)
        sums.unknown += row.unknown


def _summary(sums: _Sums, num_workers: int) -> SweepSummary:
    total, succeeded = sums.counts.total(), sums.counts["succeeded"]
    num_open = total - sum(sums.counts[state] for state in TERMINAL)
    left: float | None = sums.left
    if sums.unknown:
        # As long as those that are done took, on the whole.
        left = sums.left + sums.unknown * sums.lasted / succeeded if succeeded else None
    at_once = max(1, min(num_workers, num_open))
    return SweepSummary(
        counts={state: count for state, count in sums.counts.items() if count},
        is_cancelling=num_open > 0 and sums.asked == num_open,
        progress=sums.done / total if total else 1.0,
        eta_seconds=left / at_once if num_open and left is not None else None,
        started_at=sums.started_at,
        finished_at=None if num_open else sums.finished_at,
    )
