"""/v1/sweeps/{id}/frontier: accuracy against parameters, as numbers and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.delivery import frontier
from npas.delivery.frontier import Point, Trial
from npas_store import sweep_views, tables
from npas_store.database import reading
from npas_store.states import TERMINAL
from pydantic import BaseModel, ConfigDict, Field

from npas_api import content_negotiation, errors
from npas_api.openapi import problems_of
from npas_api.planning import while_awaited
from npas_api.sweep_schemas import (
    Frontier,
    FrontierPoint,
    MeanAccuracy,
    SeedResult,
    Smallest,
)
from npas_api.sweeps import SweepId, sweep

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

SVG = "image/svg+xml"
_POINTS = 100
"""Points of accuracy in the whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Swept:
    """A sweep as it is now: its points, and for each a job that names it."""

    row: tables.Sweep
    state: str
    points: tuple[Point, ...]
    jobs: tuple[tables.Job, ...]
    missing: dict[str, int]


class FrontierQuery(BaseModel):
    """What to look for on the frontier."""

    model_config = ConfigDict(extra="forbid")

    within: float | None = Field(
        None,
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="look for the smallest network within so many points of the dense one",
    )
    across: bool = Field(
        False, description="compare all networks with the best dense one, not each with its own"
    )


@router.get(
    "/{sweep_id}/frontier",
    dependencies=[Depends(content_negotiation.json_only)],
    responses=problems_of(
        errors.NotAcceptableError, errors.SweepNotFoundError, errors.InvalidRequestError
    ),
)
def get_frontier(sweep_id: SweepId, query: Annotated[FrontierQuery, Query()]) -> Frontier:
    """Compare the networks of a sweep; one that goes on gives what is there by now."""
    swept = _read(sweep_id)
    smallest = [] if query.within is None else _smallest(swept, query.within, query.across)
    return Frontier(
        sweep_id=sweep_id,
        state=swept.state,
        is_complete=not any(swept.missing.values()),
        missing=swept.missing,
        points=_shapes(swept),
        within=query.within,
        smallest=smallest,
    )


@router.get(
    "/{sweep_id}/frontier.svg",
    response_class=Response,
    responses={
        200: {"description": "The picture.", "content": {SVG: {}}},
        **problems_of(
            *(errors.NotAcceptableError, errors.SweepNotFoundError),
            *(errors.BusyError, errors.PlannerUnavailableError),
        ),
    },
)
async def draw_frontier(request: Request, sweep_id: SweepId) -> Response:
    """Draw the points of the frontier that are there by now, with their intervals."""
    content_negotiation.preferred(request, SVG)
    swept = await run_in_threadpool(_read, sweep_id)
    title = f"{swept.row.spec['dataset']['name']}: accuracy over parameters"
    drawing = request.app.state.planner.picture(title, _marks(_shapes(swept)))
    picture = await while_awaited(request, drawing)
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(picture, media_type=SVG, headers=headers)


def _read(sweep_id: str) -> _Swept:
    with reading() as session:
        row = sweep(session, sweep_id)
        summary = sweep_views.summaries(session, [row])[row.id]
        jobs = sweep_views.trials(session, sweep_id)
    groups: dict[tuple[int, int | None, int | None], list[tables.Job]] = {}
    for job in jobs:
        assert job.sweep_point is not None
        place = job.sweep_point
        key = (place["architecture"], place["method"], place["budget"])
        groups.setdefault(key, []).append(job)
    in_order = [groups[key] for key in sorted(groups, key=_order)]
    counts = summary.counts
    missing = {
        "waiting": sum(count for state, count in counts.items() if state not in TERMINAL),
        "failed": counts.get("failed", 0),
        "cancelled": counts.get("cancelled", 0),
        "deleted": row.num_jobs - len(jobs),
    }
    return _Swept(
        row=row,
        state=summary.state,
        points=tuple(_point(group) for group in in_order),
        jobs=tuple(group[0] for group in in_order),
        missing=missing,
    )


def _order(key: tuple[int, int | None, int | None]) -> tuple[int, int, int]:
    """Sort points as the lists of the request are, the baseline of a network first."""
    architecture, method, budget = key
    return architecture, -1 if method is None else method, -1 if budget is None else budget


def _point(jobs: Sequence[tables.Job]) -> Point:
    place = jobs[0].sweep_point
    assert place is not None
    return Point(
        architecture=place["architecture"],
        is_baseline=place["is_baseline"],
        trials=tuple(
            Trial(
                job_id=job.id,
                seed=(job.sweep_point or {})["seed"],
                state=job.state,
                accuracy=job.accuracy,
                parameters=job.parameters,
            )
            for job in sorted(jobs, key=lambda job: (job.sweep_point or {})["seed"])
        ),
    )


def _shapes(swept: _Swept) -> list[FrontierPoint]:
    points = swept.points
    is_on, is_on_own = frontier.on_frontier(points), [False] * len(points)
    for number in {point.architecture for point in points}:
        own = [place for place, point in enumerate(points) if point.architecture == number]
        for place, is_best in zip(
            own, frontier.on_frontier([points[i] for i in own]), strict=True
        ):
            is_on_own[place] = is_best
    return [
        FrontierPoint(
            architecture=job.architecture,
            method=job.method,
            budget_parameters=job.budget_parameters,
            place={k: (job.sweep_point or {})[k] for k in ("architecture", "method", "budget")},
            is_baseline=point.is_baseline,
            parameters=point.parameters,
            dense_parameters=job.dense_parameters,
            accuracy=MeanAccuracy.model_validate(point.accuracy) if point.accuracy else None,
            is_on_frontier=is_on[place],
            is_on_own_frontier=is_on_own[place],
            seeds=[SeedResult.model_validate(trial) for trial in point.trials],
        )
        for place, (point, job) in enumerate(zip(points, swept.jobs, strict=True))
    ]


def _smallest(swept: _Swept, within: float, across: bool) -> list[Smallest]:
    """Return the answer for each network, or for the best of all dense ones."""
    numbers = sorted({point.architecture for point in swept.points})
    answers = []
    for number in [None] if across else numbers:
        among = [p for p in swept.points if number is None or p.architecture == number]
        dense = [p for p in among if p.is_baseline and p.accuracy]
        best = max(dense, key=lambda p: p.accuracy.mean if p.accuracy else 0.0, default=None)
        found = best and frontier.smallest_within(among, within / _POINTS, best)
        answers.append(_answer(swept, best, found, within))
    return answers


def _answer(swept: _Swept, dense: Point | None, found: Point | None, within: float) -> Smallest:
    points = f"{within:g} point{'' if within == 1 else 's'}"
    if dense is None:
        has_one = any(point.is_baseline for point in swept.points)
        told = "no dense network was trained to its end" if has_one else "the sweep has none dense"
        told += ": there is nothing to compare with"
    elif found is None:
        told = f"none: no smaller network is within {points} of the dense one"
    else:
        share = found.parameters / dense.parameters
        told = f"{100 * share:.3g} % of the dense network's parameters, within {points} of it"
    if missing := sum(swept.missing.values()):
        told += f"; so far: {missing} of {swept.row.num_jobs} jobs are not in it"
    best = found.best if found else None
    return Smallest(
        baseline=swept.points.index(dense) if dense else None,
        point=swept.points.index(found) if found else None,
        job_id=best.job_id if best else None,
        parameters=found.parameters if found else None,
        accuracy=found.accuracy.mean if found and found.accuracy else None,
        message=told,
    )


def _marks(points: Sequence[FrontierPoint]) -> list[dict[str, Any]]:
    """Return what is drawn: points that have an accuracy."""
    networks = {point.place["architecture"] for point in points}
    return [
        {
            "series": point.method
            if len(networks) == 1
            else f"{point.method}, {point.architecture}",
            "parameters": point.parameters,
            **{name: getattr(point.accuracy, name) for name in ("mean", "low", "high")},
            "is_baseline": point.is_baseline,
            "is_on_frontier": point.is_on_frontier,
        }
        for point in points
        if point.accuracy
    ]
