"""The shapes of answers about sweeps."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from npas.spec.sweep import SweepSpec
from npas_store import tables
from npas_store.states import STATES
from npas_store.sweep_views import SweepSummary
from pydantic import Field

from npas_api.openapi import described_by
from npas_api.schemas import Freed, Shape


class SweepUrls(Shape):
    """Where the parts of a sweep are, relative to the server."""

    self: str
    cancel: str
    jobs: str
    results: str
    frontier: str
    table: str = Field(description="of all jobs, as CSV")
    picture: str = Field(description="of the frontier, as SVG")


class LeftOut(Shape):
    """A point that no job was made for, for any seed: places in the lists of the request."""

    architecture: int
    method: int | None = Field(description="null: of a baseline")
    budget: int | None
    minimum: int | None = Field(description="where the budget is below it")
    reason: dict[str, Any] = Field(description="budget_infeasible or duplicate, in words")


class Sweep(Shape):
    """A sweep, whole. Its jobs are listed by GET /v1/jobs?sweep=ID, in full."""

    id: str
    state: str = Field(
        description="queued, running, cancelling; then failed if any job did, else cancelled if "
        "any was, else succeeded"
    )
    is_terminal: bool = Field(description="all jobs have ended")
    cancel_requested: bool = Field(description="whether it was ever cancelled as one")
    progress: float = Field(description="mean of the jobs, 0..1; one that ended counts as done")
    eta_seconds: float | None = Field(description="a rough guess; null: nothing is known yet")
    counts: dict[str, int] = Field(description="jobs by state; of one that was retried, the last")
    num_jobs: int = Field(description="jobs that were made, retries not counted")
    left_out: list[LeftOut]
    spec: Annotated[dict[str, Any], described_by(SweepSpec)]
    labels: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    urls: SweepUrls

    @classmethod
    def of(cls, row: tables.Sweep, summary: SweepSummary) -> Self:
        """Return the shape of a row and of how its jobs are."""
        counts: Mapping[str, int] = summary.counts
        return cls(
            id=row.id,
            state=summary.state,
            is_terminal=summary.is_terminal,
            cancel_requested=row.cancel_requested,
            progress=summary.progress,
            eta_seconds=summary.eta_seconds,
            counts={state: counts.get(state, 0) for state in STATES},
            num_jobs=row.num_jobs,
            left_out=[LeftOut(**point) for point in (row.left_out or {}).get("points", ())],
            spec=row.spec,
            labels=row.labels,
            created_at=row.created_at,
            started_at=summary.started_at,
            finished_at=summary.finished_at,
            urls=sweep_urls(row.id),
        )


class SweepPage(Shape):
    """A page of sweeps."""

    data: list[Sweep]
    has_more: bool
    next: str | None = Field(description="`after` of the next page")


class SweepDeletion(Shape):
    """What was deleted."""

    id: str
    num_jobs: int = Field(description="jobs that were deleted with it")
    freed: Freed


class SeedResult(Shape):
    """One training of a point."""

    seed: int
    job_id: str
    state: str
    accuracy: float | None = Field(description="0..1; of a cancelled job, of its best so far")
    parameters: int
    counts: bool = Field(description="trained to its end: part of the mean")


class MeanAccuracy(Shape):
    """Over the seeds that were trained to their end."""

    mean: float
    low: float | None = Field(description="of the 95 % interval of Student's t; null: one seed")
    high: float | None
    count: int = Field(description="seeds that it is of")


class FrontierPoint(Shape):
    """A network by one method at one budget."""

    architecture: str = Field(description="names, joined by plus signs")
    method: str
    budget_parameters: int
    place: dict[str, int | None] = Field(description="in the lists of the request, from 0")
    is_baseline: bool = Field(description="without sharing: what the others are compared with")
    parameters: int = Field(description="of the largest of the seeds that count")
    dense_parameters: int
    accuracy: MeanAccuracy | None = Field(description="null: no seed was trained to its end yet")
    is_on_frontier: bool = Field(description="none is as small and better, or smaller and as good")
    is_on_own_frontier: bool = Field(description="among the points of the same network")
    seeds: list[SeedResult]


class Smallest(Shape):
    """The smallest network that is nearly as good as a dense one."""

    baseline: int | None = Field(description="place in `points` of the dense network")
    point: int | None = Field(description="place in `points`; null: there is none, see `message`")
    job_id: str | None = Field(description="of its most accurate seed")
    parameters: int | None
    accuracy: float | None = Field(description="mean over its seeds")
    message: str


class Frontier(Shape):
    """Accuracy against parameters, of what is trained by now."""

    sweep_id: str
    state: str
    is_complete: bool = Field(description="every job of the sweep is in it, trained to its end")
    missing: dict[str, int] = Field(description="jobs that say nothing: waiting, failed, ...")
    points: list[FrontierPoint]
    within: float | None = Field(description="of the request: points of accuracy, of 100")
    smallest: list[Smallest] = Field(
        description="one for each network; one for all of them where `across` was asked for"
    )


def sweep_urls(sweep_id: str) -> SweepUrls:
    """Return where the parts of a sweep are."""
    own = f"/v1/sweeps/{sweep_id}"
    return SweepUrls(
        self=own,
        cancel=f"{own}/cancel",
        jobs=f"/v1/jobs?sweep={sweep_id}",
        results=f"/v1/results?sweep={sweep_id}",
        frontier=f"{own}/frontier",
        table=f"{own}/results.csv",
        picture=f"{own}/frontier.svg",
    )
