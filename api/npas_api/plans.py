"""Plans: /v1/plans says what a job would get without making it, /v1/jobs/{id}/plan what it got."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from npas.plans import Plan
from npas.spec import Labels, PlanRequest, Seed, TrainingSpec
from npas_store import plans
from npas_store.database import reading
from pydantic import BaseModel, ConfigDict, Field

from npas_api import content_negotiation, dependencies, errors
from npas_api.openapi import EXAMPLE, Responses, problems_of, request_body, schema_of
from npas_api.planning import while_awaited
from npas_api.request_body import body

router = APIRouter(
    prefix="/v1", tags=["plans"], dependencies=[Depends(content_negotiation.json_only)]
)

_DOCUMENT: Responses = {
    200: {
        "description": "The plan.",
        "content": {content_negotiation.JSON: {"schema": schema_of(Plan)}},
    }
}


class PlanBody(PlanRequest):
    """A plan's request, or a whole job's: what a plan does not need is checked and left."""

    training: TrainingSpec | None = None
    seed: Seed = 0
    labels: Labels = Field(default_factory=dict)


class PlanQuery(BaseModel):
    """Which plan of a job."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(
        None, ge=0, lt=2**31, description="0 is the one at acceptance; the newest when left out"
    )


@router.post(
    "/plans",
    response_class=Response,
    responses={
        **_DOCUMENT,
        **problems_of(
            *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
            *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError),
            *(errors.InvalidSpecError, errors.UnknownNameError, errors.InfeasibleBudgetError),
            *(errors.DatasetUnusableError, errors.PlanTooLargeError, errors.BusyError),
            errors.PlannerUnavailableError,
        ),
    },
    openapi_extra=request_body(PlanBody, example=EXAMPLE),
)
async def make_plan(
    request: Request, wanted: Annotated[PlanBody, Depends(body(PlanBody))]
) -> Response:
    """Plan without training: which layers would share what, and the exact count."""
    plan = await while_awaited(request, request.app.state.planner.plan(wanted))
    return Response(plan, media_type=content_negotiation.JSON)


@router.get(
    "/jobs/{job_id}/plan",
    response_class=Response,
    responses={
        **_DOCUMENT,
        **problems_of(
            *(errors.NotAcceptableError, errors.JobNotFoundError),
            *(errors.PlanNotFoundError, errors.InvalidRequestError),
        ),
    },
)
def job_plan(job_id: dependencies.JobId, query: Annotated[PlanQuery, Query()]) -> Response:
    """Read a job's plan, as `npas.Plan.from_json` takes it. A search makes new versions."""
    with reading() as session:
        dependencies.job(session, job_id)
        versions = {plan.version: plan.document for plan in plans.versions(session, job_id)}
    version = max(versions) if query.version is None else query.version
    if version not in versions:
        known = ", ".join(map(str, versions))
        raise errors.PlanNotFoundError(f"{job_id} has no plan {version}; it has {known}")
    headers = {"Plan-Version": str(version)}
    return Response(versions[version], media_type=content_negotiation.JSON, headers=headers)
