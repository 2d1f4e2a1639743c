"""Plans: /v1/plans says what a job would get without making it, /v1/jobs/{id}/plan what it got."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.delivery.allocation_report import AllocationReport, allocation_of
from npas.plans import Plan
from npas.spec import (
    AUTO,
    Auto,
    CorruptedImages,
    Explain,
    JobSpec,
    Labels,
    PlanRequest,
    Priority,
    Seed,
    StartSpec,
    TimeLimit,
    TrainingSpec,
)
from npas_store import plans
from npas_store.database import reading
from pydantic import BaseModel, ConfigDict, Field

from npas_api import content_negotiation, dependencies, errors, schemas, starts
from npas_api.openapi import EXAMPLE, Responses, problems_of, request_body, schema_of
from npas_api.planning import while_awaited
from npas_api.request_body import body

router = APIRouter(
    prefix="/v1", tags=["plans"], dependencies=[Depends(content_negotiation.json_only)]
)

_WITH_MORE = {
    "type": "object",
    "required": ["plan"],
    "properties": {
        "plan": schema_of(Plan),
        "estimate": schema_of(schemas.Estimate),
        "offered": {"type": "array", "items": schema_of(schemas.Offer)},
    },
}
_EITHER: Responses = {
    200: {
        "description": "The plan; with `estimate` or `offered`, an object of it and what is told "
        "beside it.",
        "content": {
            content_negotiation.JSON: {"schema": {"anyOf": [schema_of(Plan), _WITH_MORE]}}
        },
    }
}


class DryRunQuery(BaseModel):
    """What is told beside a plan."""

    model_config = ConfigDict(extra="forbid")

    estimate: bool = Field(
        False, description="answer {plan, estimate}: what the job would take; wants a dataset"
    )
    offered: bool = Field(
        False,
        description="answer {plan, offered}: the sizes of the network that its search may choose",
    )


class PlanBody(PlanRequest):
    """A plan's request, or a whole job's: what a plan does not need is checked and left."""

    training: TrainingSpec | None = None
    seed: Seed = 0
    time_limit: TimeLimit | None = None
    start: StartSpec | None = None
    corrupted_images: CorruptedImages | Auto = AUTO
    explain: Explain = 0.05
    labels: Labels = Field(default_factory=dict)
    priority: Priority = 0


_EXPLAINED = {
    "type": "object",
    "required": ["plan", "allocation"],
    "properties": {"plan": schema_of(Plan), "allocation": schema_of(AllocationReport)},
}
_PLAIN_OR_EXPLAINED: Responses = {
    200: {
        "description": "The plan; with `explain`, an object of it and what there is to say of "
        "each layer.",
        "content": {
            content_negotiation.JSON: {"schema": {"anyOf": [schema_of(Plan), _EXPLAINED]}}
        },
    }
}


class PlanQuery(BaseModel):
    """Which plan of a job."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(
        None, ge=0, lt=2**31, description="0 is the one at acceptance; the newest when left out"
    )
    explain: bool = Field(
        False,
        description="answer {plan, allocation}: with whom each layer shares; of the newest plan "
        "of a job that succeeded, what sharing costs it and what more budget would buy, too",
    )


@router.post(
    "/plans",
    response_class=Response,
    responses={
        **_EITHER,
        **problems_of(
            *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
            *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError),
            *(errors.InvalidSpecError, errors.UnknownNameError, errors.InfeasibleBudgetError),
            *(errors.DatasetUnusableError, errors.PlanTooLargeError, errors.BusyError),
            *(errors.PlannerUnavailableError, errors.StartUnusableError),
        ),
    },
    openapi_extra=request_body(PlanBody, example=EXAMPLE),
)
async def make_plan(
    request: Request,
    wanted: Annotated[PlanBody, Depends(body(PlanBody))],
    query: Annotated[DryRunQuery, Query()],
) -> Response:
    """Plan without training: which layers would share what, and the exact count.

    Where the networks are to join those of a model file, it is the plan of all of them.
    """
    planner = request.app.state.planner
    is_joining = wanted.start is not None and wanted.start.join
    beside: dict[str, str] = {}
    if query.estimate or is_joining:
        job = _job(wanted)
        if is_joining:
            await run_in_threadpool(_check_start, job)
        planned = await while_awaited(request, planner.weigh(job))
        plan = planned.plan
        if query.estimate:
            estimator = request.app.state.estimator
            beside["estimate"] = await run_in_threadpool(estimator.told, planned.work)
    else:
        plan = await while_awaited(request, planner.plan(wanted))
    if query.offered:
        beside["offered"] = json.dumps(await while_awaited(request, planner.offered(wanted)))
    return Response(_together(plan, beside), media_type=content_negotiation.JSON)


def _together(plan: str, beside: dict[str, str]) -> str:
    """Return a plan and what is told beside it, JSON in which the plan is the same as alone."""
    told = "".join(f',"{name}":{text}' for name, text in beside.items())
    return f'{{"plan":{plan}{told}}}' if told else plan


def _check_start(spec: JobSpec) -> None:
    with reading() as session:
        starts.require_start(session, spec)


def _job(wanted: PlanBody) -> JobSpec:
    """Return the job that a plan is asked for.

    Raises:
        InvalidRequestError: there is no dataset, and a job has one.
    """
    if wanted.dataset is None:
        message = "an estimate, or networks that join a file's, want a whole job: name a dataset"
        blame = errors.FieldError(pointer="/dataset", code="missing", message=message)
        raise errors.InvalidRequestError(message, errors=[blame])
    given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    return JobSpec.model_validate({k: v for k, v in given.items() if v is not None})


@router.get(
    "/jobs/{job_id}/plan",
    response_class=Response,
    responses={
        **_PLAIN_OR_EXPLAINED,
        **problems_of(
            *(errors.NotAcceptableError, errors.JobNotFoundError),
            *(errors.PlanNotFoundError, errors.InvalidRequestError),
        ),
    },
)
def job_plan(job_id: dependencies.JobId, query: Annotated[PlanQuery, Query()]) -> Response:
    """Read a job's plan, as `npas.Plan.from_json` takes it. A search makes new versions."""
    with reading() as session:
        job = dependencies.job(session, job_id)
        state, measured = job.state, (job.result or {}).get("allocation")
        versions = {plan.version: plan.document for plan in plans.versions(session, job_id)}
    version = max(versions) if query.version is None else query.version
    if version not in versions:
        known = ", ".join(map(str, versions))
        raise errors.PlanNotFoundError(f"{job_id} has no plan {version}; it has {known}")
    headers = {"Plan-Version": str(version)}
    document = versions[version]
    if query.explain:
        why = "" if version == max(versions) else f"plan {version} is not the one in force"
        document = _explained(document, None if why else measured, why or _why_not(state))
    return Response(document, media_type=content_negotiation.JSON, headers=headers)


def _why_not(state: str) -> str:
    """Return why a job's newest plan is not measured, a sentence."""
    if state == "succeeded":
        return "the job ended before sharing was measured; clone it to have that done"
    return f"the job is {state}; networks are measured when they are delivered"


def _explained(document: str, measured: dict[str, Any] | None, why_not: str) -> str:
    """Return a plan with what there is to say of its layers, as JSON.

    Args:
        document: the plan.
        measured: of the report; None: there is none of this plan.
        why_not: why there is none, a sentence.
    """
    found = measured
    if found is None:
        found = allocation_of(Plan.from_json(document), why_not).model_dump(mode="json")
    return f'{{"plan":{document},"allocation":{json.dumps(found)}}}'
