"""Plans for all jobs of a sweep, before any of them is queued.

Seeds have no say in a plan, so each network, method and budget is planned once. The slots of the
planner are shared with all other requests, which get their turns in between.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi.concurrency import run_in_threadpool
from npas.jobs.workload import Workload
from npas.plans import Plan
from npas.spec.sweep import SweepSpec
from npas.spec.sweep_points import BASELINE, SweepPoint
from npas_store.settings import settings
from npas_store.sweeps import Child

from npas_api import errors
from npas_api.errors import FieldError
from npas_api.planning import AT_ONCE, Planned, Planner
from npas_api.validation import MAX_ERRORS

_PAUSE_SECONDS = 0.5
_MAX_TOLD = 3
"""Points that a sentence names; the document names all."""

Key = tuple[int, int | None, int | None]
"""Places of the network, the method and the budget."""

Refusal = TypeVar("Refusal", bound=errors.ApiError)
Estimate = Callable[[Workload], dict[str, Any]]
Outcome = Planned | errors.InfeasibleBudgetError
"""A plan, or why there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedSweep:
    """What is to be made of a sweep.

    Attributes:
        children: its jobs, in order.
        left_out: points without a job, for all seeds: where, and the reason.
    """

    children: tuple[Child, ...]
    left_out: tuple[dict[str, Any], ...]


async def plan_sweep(planner: Planner, estimate: Estimate, spec: SweepSpec) -> PlannedSweep:
    """Plan a sweep.

    Args:
        planner: that makes the plans.
        estimate: what a job will take, by what it will compute.
        spec: the sweep.

    Raises:
        InfeasiblePointsError: budgets below their minimum, unless they are to be left out; or all.
        PlanTooLargeError: the plans take too long together.
        ApiError: any job is refused for another reason; the pointers are into the sweep.
    """
    first: dict[Key, SweepPoint] = {}
    for point in spec.points():
        first.setdefault((point.architecture, point.method, point.budget), point)
    outcomes: dict[Key, Outcome] = {}
    try:
        async with asyncio.timeout(settings().sweep_seconds):
            listed = {key: point for key, point in first.items() if point.method is not None}
            await _ask_all(planner, spec, listed, outcomes)
            covered = {key[0] for key in outcomes if _is_baseline(spec, key, outcomes)}
            lone = {k: p for k, p in first.items() if p.method is None and k[0] not in covered}
            await _ask_all(planner, spec, lone, outcomes)
    except TimeoutError:
        raise _too_slow(len(outcomes), len(first)) from None
    in_order = {key: outcomes[key] for key in first if key in outcomes}
    return await run_in_threadpool(_planned, spec, in_order, estimate)


def _is_baseline(spec: SweepSpec, key: Key, outcomes: Mapping[Key, Outcome]) -> bool:
    """Tell whether a point that was asked for serves as the baseline of its network."""
    _, method, _ = key
    is_plan = isinstance(outcomes[key], Planned)
    return is_plan and method is not None and spec.methods[method].name == BASELINE


async def _ask_all(
    planner: Planner,
    spec: SweepSpec,
    points: Mapping[Key, SweepPoint],
    outcomes: dict[Key, Outcome],
) -> None:
    """Add the outcome of every point; the first that is refused for good ends the others."""
    waiting = iter(points.items())

    async def work() -> None:
        for key, point in waiting:
            outcomes[key] = await _outcome(planner, spec, point)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except* Exception as several:  # of the library and the database, too
        refusal = several.exceptions[0]
    else:
        return
    raise refusal


async def _outcome(planner: Planner, spec: SweepSpec, point: SweepPoint) -> Outcome:
    while True:
        try:
            return await planner.plan_job(spec.job(point))
        except errors.InfeasibleBudgetError as error:
            return _placed(error, spec, point)
        except errors.BusyError:  # a sweep has the time to wait for its turn
            await asyncio.sleep(_PAUSE_SECONDS)
        except errors.ApiError as error:
            raise _placed(error, spec, point) from None


def _placed(error: Refusal, spec: SweepSpec, point: SweepPoint) -> Refusal:
    """Return the refusal of a job as one of the sweep that it belongs to."""
    blamed = [
        FieldError(
            pointer=_pointer(field.pointer, spec, point),
            code=field.code,
            message=field.message,
            place=field.place,
        )
        for field in error.errors
    ]
    return type(error)(
        f"{_named(spec, point)}: {error.detail}",
        errors=blamed,
        headers=error.headers,
        members=error.members,
    )


def _pointer(pointer: str, spec: SweepSpec, point: SweepPoint) -> str:
    """Return where in the sweep the part of its job is that a pointer names."""
    _, head, *rest = [*pointer.split("/", 2), ""]
    tail = "/" + rest[0] if rest[0] else ""
    many = "networks" if spec.networks else "architectures"
    if head in ("architecture", "networks"):
        return f"/{many}/{point.architecture}{tail}"
    if head == "budget":
        return "/baseline" if point.budget is None else f"/budgets/{point.budget}{tail}"
    if head == "method":
        return "/baseline" if point.method is None else f"/methods/{point.method}{tail}"
    return pointer


def _named(spec: SweepSpec, point: SweepPoint) -> str:
    job = spec.job(point)
    names = " + ".join(member.architecture.name for member in job.members())
    asked = job.budget
    return f"{job.method.name} at {asked.told} of {names}"


def _too_slow(num_done: int, num_all: int) -> errors.PlanTooLargeError:
    message = (
        f"planning took more than {settings().sweep_seconds:g} s (NPAS_SWEEP_SECONDS) and got "
        f"through {num_done} of {num_all} plans; send several sweeps of fewer points"
    )
    whole = FieldError(pointer="", code="plan_too_large", message=message)
    return errors.PlanTooLargeError(message, errors=[whole])


def _planned(spec: SweepSpec, outcomes: Mapping[Key, Outcome], estimate: Estimate) -> PlannedSweep:
    refused = {key: o for key, o in outcomes.items() if not isinstance(o, Planned)}
    plans = {key: o for key, o in outcomes.items() if isinstance(o, Planned)}
    asked = [key for key in plans if key[1] is not None]
    if refused and (spec.infeasible == "refuse" or not asked):
        raise _infeasible(spec, refused, len(outcomes))
    kept, twins = _distinct(spec, plans)
    left_out = [_left_out_below(key, error) for key, error in refused.items()]
    left_out += [_left_out_twin(key, twin) for key, twin in twins.items()]
    parsed = {key: Plan.from_json(found.plan) for key, found in kept.items()}
    estimates = {key: estimate(found.work) for key, found in kept.items()}
    children = tuple(
        Child(point=point, spec=spec.job(point), plan=parsed[key], estimate=estimates[key])
        for point in spec.points()
        if (key := (point.architecture, point.method, point.budget)) in parsed
    )
    return PlannedSweep(children=children, left_out=tuple(left_out))


def _distinct(
    spec: SweepSpec, plans: Mapping[Key, Planned]
) -> tuple[dict[Key, Planned], dict[Key, Key]]:
    """Return the plans that stand for different trainings, and of the others which is the same."""
    known: dict[str, Key] = {}
    twins: dict[Key, Key] = {}
    for key, found in plans.items():
        identity = found.plan
        if key[1] is None or spec.methods[key[1]].name == BASELINE:
            content = json.loads(found.plan)
            for part in ("budget", "unused"):
                del content["ledger"][part]  # it trains the same, whatever is left over
            identity = json.dumps(content)
        first = known.setdefault(identity, key)
        if first != key:
            twins[key] = first
    return {key: found for key, found in plans.items() if key not in twins}, twins


def _place(key: Key) -> dict[str, int | None]:
    architecture, method, budget = key
    return {"architecture": architecture, "method": method, "budget": budget}


def _left_out_below(key: Key, error: errors.InfeasibleBudgetError) -> dict[str, Any]:
    (blame,) = error.errors
    why = _reason("budget_infeasible", error.detail, field=blame.pointer)
    return {**_place(key), "minimum": error.members["minimum"], "reason": why}


def _left_out_twin(key: Key, twin: Key) -> dict[str, Any]:
    same = ", ".join(f"{name} {place}" for name, place in _place(twin).items())
    message = f"the same training as that of {same}; a job of it stands for both"
    return {**_place(key), "minimum": None, "reason": _reason("duplicate", message)}


def _reason(code: str, message: str, *, field: str = "") -> dict[str, str]:
    """Return why there is no job; it has the members of a job's reason, and codes of its own."""
    return {"code": code, "message": message, "hint": "", "field": field}


def _infeasible(
    spec: SweepSpec, refused: Mapping[Key, errors.InfeasibleBudgetError], num_points: int
) -> errors.InfeasiblePointsError:
    blamed = [field for error in refused.values() for field in error.errors]
    told = _listed(error.detail for error in refused.values())
    advice = (
        "no point is left without them"
        if spec.infeasible == "leave_out"
        else 'raise them, or do without these points by "infeasible": "leave_out"'
    )
    return errors.InfeasiblePointsError(
        f"{len(refused)} of {num_points} budgets are below the minimum: {told}. {advice}",
        errors=blamed[:MAX_ERRORS],
        members={"points": [_left_out_below(key, error) for key, error in refused.items()]},
    )


def _listed(sentences: Iterable[str]) -> str:
    several: Sequence[str] = [*sentences]
    more = len(several) - _MAX_TOLD
    return "; ".join(several[:_MAX_TOLD]) + (f"; and {more} more" if more > 0 else "")
