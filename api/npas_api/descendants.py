"""/v1/jobs/{id}/clone, retry, continue: new jobs that are made of one. That one never changes."""

from collections.abc import Callable
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.errors import PlanError
from npas.plans import Plan
from npas.spec import BudgetSpec, JobSpec, Spec
from npas_store import blobs, idempotency, jobs, lineage, migrate
from npas_store.database import reading, transaction
from npas_store.jobs import Origin
from npas_store.states import is_terminal
from npas_store.tables import Job, Json
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy.orm import Session

from npas_api import content_negotiation, dependencies, errors, schemas, starts
from npas_api.idempotency_key import REPLAYED, IdempotencyKey, reused
from npas_api.jobs import shape
from npas_api.openapi import Responses, problems_of, request_body
from npas_api.planning import while_awaited
from npas_api.request_body import MERGE_PATCH, body, checked, merge_patch, merged

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(content_negotiation.json_only)]
)

_REFUSALS: Responses = problems_of(
    *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
    *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError, errors.InvalidSpecError),
    *(errors.UnknownNameError, errors.InfeasibleBudgetError, errors.DatasetUnusableError),
    *(errors.TooLargeError, errors.IdempotencyKeyReusedError, errors.PlanTooLargeError),
    *(errors.BusyError, errors.PlannerUnavailableError, errors.SchemaMismatchError),
    *(errors.JobNotFoundError, errors.JobStateConflictError, errors.StartUnusableError),
    *(errors.ArtifactGoneError, errors.ArtifactDamagedError),
)
_CLONE_EXAMPLE = {"budget": 50_000, "training": {"epochs": 40}, "labels": {"team": None}}
_CONTINUE_EXAMPLE = {"epochs": 20}

_SpecOf = Callable[[Session, Job], JobSpec]


class JobMergePatch(Spec):
    """What is to be otherwise than in the job's request (RFC 7396): null takes a member away."""

    model_config = ConfigDict(extra="allow")


class Continuation(Spec):
    """How a delivered network is trained on."""

    epochs: int | None = Field(
        None, ge=1, le=10_000, description="more of them; left out: as many as the job had"
    )
    budget: BudgetSpec | None = Field(
        None, description="another one, into which the weights are fitted; left out: the job's"
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.epochs is None and self.budget is None:
            raise ValueError("give epochs, or budget, or both")
        return self


@router.post(
    "/{job_id}/clone",
    status_code=202,
    response_model=schemas.Job,
    responses=_REFUSALS,
    openapi_extra=request_body(JobMergePatch, example=_CLONE_EXAMPLE, types=MERGE_PATCH),
)
async def clone_job(
    job_id: dependencies.JobId,
    request: Request,
    response: Response,
    patch: Annotated[dict[str, Any], Depends(merge_patch)],
    idempotency_key: IdempotencyKey = None,
) -> schemas.Job:
    """Queue a job like this one, but for what the body says; of a job in any state.

    The body is a JSON merge patch of the request, with labels and priority as they are now; what
    it makes is checked and planned as any request. A plain name or number replaces a whole
    architecture, method, dataset or budget with its options, an object changes members of it.
    """

    def spec_of(session: Session, job: Job) -> JobSpec:
        del session
        return _patched(job, patch)

    origin = Origin(parent_id=job_id, relation="clone", request=patch)
    return await _made(request, response, origin, spec_of, idempotency_key)


@router.post("/{job_id}/retry", status_code=202, response_model=schemas.Job, responses=_REFUSALS)
async def retry_job(
    job_id: dependencies.JobId,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> schemas.Job:
    """Queue the same job again, after it failed, was cancelled, or met its time limit.

    It goes on from the newest resume file of that one, if one is still kept, else from the start.
    """
    origin = Origin(parent_id=job_id, relation="retry", request={})
    return await _made(request, response, origin, _retried, idempotency_key)


@router.post(
    "/{job_id}/continue",
    status_code=202,
    response_model=schemas.Job,
    responses=_REFUSALS,
    openapi_extra=request_body(Continuation, example=_CONTINUE_EXAMPLE),
)
async def continue_job(
    job_id: dependencies.JobId,
    request: Request,
    response: Response,
    wish: Annotated[Continuation, Depends(body(Continuation))],
    idempotency_key: IdempotencyKey = None,
) -> schemas.Job:
    """Queue a job that trains on the network that this one delivered.

    For the same budget its plan is kept, and the training begins with that very network; for
    another one a new plan is made, with the weights fitted into it. The schedule is the job's own,
    from its start. For more changes, clone the job with `start` in the body. Where networks joined
    others, all of them are trained on; refused, if those were to stay as they are.
    """

    def spec_of(session: Session, job: Job) -> JobSpec:
        return _continued(session, job, wish)

    asked = wish.model_dump(mode="json", exclude_none=True)
    origin = Origin(parent_id=job_id, relation="continue", request=asked)
    return await _made(request, response, origin, spec_of, idempotency_key)


async def _made(
    request: Request, response: Response, origin: Origin, spec_of: _SpecOf, key: str | None
) -> schemas.Job:
    """Return the job that was asked for; another request may have used the key just now."""
    earlier = await run_in_threadpool(_replay, origin, key)
    if earlier is None:
        spec, origin = await run_in_threadpool(_read, origin, spec_of)
        planned = await while_awaited(request, request.app.state.planner.plan_job(spec))
        estimator = request.app.state.estimator
        estimate = await run_in_threadpool(estimator.estimate, planned.work)
        job, is_new = await run_in_threadpool(_create, origin, spec, planned.plan, key, estimate)
        for loop in request.app.state.loops:
            loop.wake()  # the message need not wait for the next round
    else:
        job, is_new = earlier, False
    response.headers["Location"] = job.urls.self
    if not is_new:
        response.headers[REPLAYED] = "true"
    return job


def _replay(origin: Origin, key: str | None) -> schemas.Job | None:
    """Return the job that a key made before, also where its parent was deleted since."""
    if key is None:
        return None
    with reading() as session:
        found = idempotency.known(session, key)
        if found is None:
            return None
        job = session.get(Job, found.resource)
        if job is None or not origin.is_of(job):
            raise reused(found.resource)
        return shape(session, job)


def _read(origin: Origin, spec_of: _SpecOf) -> tuple[JobSpec, Origin]:
    """Return what is asked for of a job, as it is now."""
    with reading() as session:
        parent = dependencies.job(session, origin.parent_id)
        spec = spec_of(session, parent)
        starts.require_start(session, spec)
        if origin.relation != "retry":
            return spec, origin
        return spec, Origin(
            parent_id=parent.id,
            relation="retry",
            request=origin.request,
            adjustments=dict(parent.adjustments),
        )


def _create(
    origin: Origin, spec: JobSpec, plan: str, key: str | None, estimate: Json
) -> tuple[schemas.Job, bool]:
    planned = Plan.from_json(plan)
    with transaction() as session:
        migrate.require(session)
        try:
            # The job before the file it delivered: who deletes takes them in this order.
            lineage.hold_parent(session, origin)
            starts.hold_start(session, spec)
            job = lineage.descend(session, spec, planned, key, origin, estimate=estimate)
        except lineage.NoParentError:
            raise dependencies.no_job(origin.parent_id) from None
        except jobs.NoSuchJobError:
            raise reused("what is no job") from None
        if not origin.is_of(job):
            raise reused(job.id)
        return shape(session, job), jobs.is_new(session, job)


def _patched(job: Job, patch: Json) -> JobSpec:
    """Return the request of a job with a merge patch applied.

    Raises:
        InvalidRequestError: that is no request.
    """
    try:
        return checked(JobSpec, merged(lineage.asked_again(job), patch))
    except errors.InvalidRequestError as error:
        error.detail += f"; this is of the request of {job.id} with the patch applied, where null "
        error.detail += "takes a member away and a plain name replaces all options"
        raise


def _retried(session: Session, job: Job) -> JobSpec:
    del session
    if lineage.is_retryable(job):
        return _patched(job, {})
    if job.state == "succeeded":
        advice = "continue trains its network on, clone makes a new one"
    else:
        advice = "cancel ends it, clone makes another one beside it"
    raise _conflict(
        job, f"only one that failed, was cancelled or cut short can be retried; {advice}"
    )


def _continued(session: Session, job: Job, wish: Continuation) -> JobSpec:
    model = lineage.delivered_network(session, job.id)
    if model is None:
        advice = "retry it" if is_terminal(job.state) else "wait for its end, or cancel it"
        told = f"only a job that delivered a network can be continued, this one has none; {advice}"
        raise _conflict(job, told)
    starts.check_stored(blobs.Blob(sha256=model.sha256, bytes=model.bytes), job.id)
    _require_all_learned(job)
    changes: Json = {"start": {"checkpoint": model.sha256}}
    try:
        plan = lineage.delivered_plan(session, job.id)
    except PlanError as error:
        raise _conflict(job, f"this version cannot read its plan: {error}; clone it") from None
    joined = lineage.joined(job)
    if (
        joined or plan.method != job.spec["method"]["name"]
    ):  # of a file, or of a race: not run again
        changes["method"] = {**plan.options, "name": plan.method}
    if joined:  # the request names the new networks, and what they may add
        changes |= {"networks": _networks(plan), "budget": {"parameters": plan.ledger.budget}}
    if wish.budget is not None:
        changes["budget"] = wish.budget.model_dump(mode="json", exclude_none=True)
    document = lineage.asked_again(job) | changes
    if "networks" in changes:
        document.pop("architecture", None)
    if lineage.is_of_sizes(job):
        document = _of_the_winner(document, plan)
    if wish.epochs is not None:
        document["training"] = document["training"] | {"epochs": wish.epochs}
    return checked(JobSpec, document)


def _of_the_winner(document: Json, plan: Plan) -> Json:
    """Return the request of a job that raced sizes, for the network that won: none is raced again.

    A budget stays a part of the dense size of the network that was asked for.
    """
    budget = BudgetSpec.model_validate(document["budget"])
    if budget.fraction is not None:
        count = max(1, budget.resolve(plan.dense))
        document = document | {"budget": {"parameters": count}}
    dropped = ("search", "limits", "architecture", "networks")
    kept = {name: value for name, value in document.items() if name not in dropped}
    return kept | {"networks": _networks(plan)}


def _networks(plan: Plan) -> list[Json]:
    return [network.model_dump(mode="json", exclude_none=True) for network in plan.networks]


def _require_all_learned(job: Job) -> None:
    """Check that no networks of a job were to stay as they are: a continuation trains them all."""
    start = lineage.joined(job)
    if start and start.get("frozen", True):
        raise _conflict(
            job,
            "the networks that it joined are to stay as they are, and a continuation trains all; "
            "clone it with more epochs, or submit a job that names all networks of its file and "
            "starts from that",
        )


def _conflict(job: Job, told: str) -> errors.JobStateConflictError:
    return errors.JobStateConflictError(
        f"{job.id} is {job.state}: {told}", members={"state": job.state}
    )
