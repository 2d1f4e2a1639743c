"""/v1/jobs: create, list, look at, cancel."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.plans import Plan
from npas.spec import JobSpec
from npas_store import idempotency, jobs, listings, migrate, queue_places
from npas_store.database import reading, transaction
from npas_store.tables import Job
from sqlalchemy.orm import Session

from npas_api import (
    content_negotiation,
    dependencies,
    errors,
    pagination,
    preconditions,
    schemas,
    starts,
)
from npas_api.idempotency_key import REPLAYED, IdempotencyKey, reused
from npas_api.openapi import EXAMPLE, problems_of, request_body
from npas_api.planning import while_awaited
from npas_api.request_body import body

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(content_negotiation.json_only)]
)


@router.post(
    "",
    status_code=202,
    response_model=schemas.Job,
    responses=problems_of(
        *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
        *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError, errors.InvalidSpecError),
        *(errors.UnknownNameError, errors.InfeasibleBudgetError, errors.DatasetUnusableError),
        *(errors.TooLargeError, errors.IdempotencyKeyReusedError, errors.PlanTooLargeError),
        *(errors.BusyError, errors.PlannerUnavailableError, errors.SchemaMismatchError),
        errors.StartUnusableError,
    ),
    openapi_extra=request_body(JobSpec, example=EXAMPLE),
)
async def create_job(
    request: Request,
    response: Response,
    spec: Annotated[JobSpec, Depends(body(JobSpec))],
    idempotency_key: IdempotencyKey = None,
) -> schemas.Job:
    """Queue a job: search the sharing, train, deliver one file.

    The budget is checked before anything is queued; one that is too small is refused with the
    least that this method, and every other, needs.
    """
    earlier = await run_in_threadpool(_replay, spec, idempotency_key)
    if earlier is None:
        await run_in_threadpool(_check_start, spec)
        planned = await while_awaited(request, request.app.state.planner.plan_job(spec))
        estimator = request.app.state.estimator
        estimate = await run_in_threadpool(estimator.estimate, planned.work)
        job, is_new = await run_in_threadpool(
            _create, spec, planned.plan, idempotency_key, estimate
        )
        for loop in request.app.state.loops:
            loop.wake()  # the message need not wait for the next round
    else:
        job, is_new = earlier, False
    response.headers["Location"] = job.urls.self
    if not is_new:
        response.headers[REPLAYED] = "true"
    return job


@router.get(
    "",
    responses=problems_of(errors.NotAcceptableError, errors.InvalidRequestError),
    openapi_extra=pagination.LABEL_PARAMETER,
)
def list_jobs(
    query: Annotated[pagination.JobQuery, Query()], request: Request, response: Response
) -> schemas.JobPage:
    """List jobs, the newest first; filters can be combined."""
    wanted, order = pagination.filtered(query), pagination.ordered(query)
    with reading() as session:
        page = listings.jobs(
            session,
            wanted,
            order=order,
            after=pagination.placed(query.after, order),
            limit=query.limit,
        )
        histories = listings.histories(session, [job.id for job in page.jobs])
    following = pagination.following(page, order)
    pagination.link(request, response, following)
    data = [schemas.Job.of(job, histories[job.id]) for job in page.jobs]
    return schemas.JobPage(data=data, has_more=page.has_more, next=following)


@router.get("/{job_id}", responses=problems_of(errors.NotAcceptableError, errors.JobNotFoundError))
def get_job(job_id: dependencies.JobId, response: Response) -> schemas.Job:
    """Look at a job; its ETag names the version of what users can change, for If-Match."""
    with reading() as session:
        job = dependencies.job(session, job_id)
        preconditions.tell_version(response, job)
        return looked_at(session, job)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    responses=problems_of(errors.NotAcceptableError, errors.JobNotFoundError),
)
def cancel_job(job_id: dependencies.JobId) -> schemas.Job:
    """Ask a job to end. The best network so far is delivered; an ended job stays as it is."""
    with transaction() as session:
        try:
            job = jobs.request_cancel(session, job_id)
        except jobs.NoSuchJobError:
            raise dependencies.no_job(job_id) from None
        return shape(session, job)


def looked_at(session: Session, job: Job) -> schemas.Job:
    """Return the shape of one job that is asked for: with where it waits."""
    history = listings.histories(session, [job.id])[job.id]
    return schemas.Job.of(job, history, queue=queue_places.place(session, job))


def _replay(spec: JobSpec, key: str | None) -> schemas.Job | None:
    """Return the job that a key made before.

    Asked before planning, so that a repeated request is answered alike even if, meanwhile, the
    service would refuse it.
    """
    if key is None:
        return None
    with reading() as session:
        known = idempotency.known(session, key)
        if known is None:
            return None
        job = session.get(Job, known.resource)
        if job is None:  # a key of something else
            raise reused(known.resource)
        return shape(session, _same(job, spec))


def _check_start(spec: JobSpec) -> None:
    """Check the file that a job is to start from, before anything is planned."""
    if spec.start is not None:
        with reading() as session:
            starts.require_start(session, spec)


def _create(
    spec: JobSpec, plan: str, key: str | None, estimate: dict[str, Any]
) -> tuple[schemas.Job, bool]:
    """Return the job, and whether it is new: another request may have used the key just now."""
    planned = Plan.from_json(plan)
    with transaction() as session:
        migrate.require(session)  # a newer version may have come since the start
        starts.hold_start(session, spec)
        try:
            job = jobs.create(session, spec, planned, key, estimate=estimate)
        except jobs.NoSuchJobError:  # the key made something else
            raise reused("what is no job") from None
        return shape(session, _same(job, spec)), jobs.is_new(session, job)


def _same(job: Job, spec: JobSpec) -> Job:
    if not jobs.is_asked_by(job, spec):
        raise reused(job.id)
    return job


def shape(session: Session, job: Job) -> schemas.Job:
    """Return the shape of one job."""
    return schemas.Job.of(job, listings.histories(session, [job.id])[job.id])
