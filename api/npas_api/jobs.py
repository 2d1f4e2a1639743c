"""/v1/jobs: create, list, look at, cancel."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.plans import Plan
from npas.spec import JobSpec
from npas_store import jobs, listings, migrate
from npas_store.database import reading, transaction
from npas_store.tables import Job
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from npas_api import accept, errors, found, queries, shapes
from npas_api.bodies import body
from npas_api.openapi import EXAMPLE, problems_of, request_body
from npas_api.planning import while_awaited

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(accept.json_only)])

_Key = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
REPLAYED = "Idempotency-Replayed"


@router.post(
    "",
    status_code=202,
    response_model=shapes.Job,
    responses=problems_of(
        *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
        *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError, errors.InvalidSpecError),
        *(errors.UnknownNameError, errors.InfeasibleBudgetError, errors.DatasetUnusableError),
        *(errors.TooLargeError, errors.IdempotencyKeyReusedError, errors.PlanTooLargeError),
        *(errors.BusyError, errors.PlannerUnavailableError, errors.SchemaMismatchError),
    ),
    openapi_extra=request_body(JobSpec, example=EXAMPLE),
)
async def create_job(
    request: Request,
    response: Response,
    spec: Annotated[JobSpec, Depends(body(JobSpec))],
    idempotency_key: Annotated[
        _Key | None,
        Header(description="the same key and body give the same job, however often they are sent"),
    ] = None,
) -> shapes.Job:
    """Queue a job: search the sharing, train, deliver one file.

    The budget is checked before anything is queued; one that is too small is refused with the
    least that this method, and every other, needs.
    """
    earlier = await run_in_threadpool(_replay, spec, idempotency_key)
    if earlier is None:
        plan = await while_awaited(request, request.app.state.planner.plan_job(spec))
        job, is_new = await run_in_threadpool(_create, spec, plan, idempotency_key)
        for loop in request.app.state.loops:
            loop.wake()  # the bell need not wait for the next round
    else:
        job, is_new = earlier, False
    response.headers["Location"] = job.urls.self
    if not is_new:
        response.headers[REPLAYED] = "true"
    return job


@router.get(
    "",
    responses=problems_of(errors.NotAcceptableError, errors.InvalidRequestError),
    openapi_extra=queries.LABEL_PARAMETER,
)
def list_jobs(
    query: Annotated[queries.JobQuery, Query()], request: Request, response: Response
) -> shapes.JobPage:
    """List jobs, the newest first; filters can be combined."""
    wanted, order = queries.filtered(query), queries.ordered(query)
    with reading() as session:
        page = listings.jobs(
            session,
            wanted,
            order=order,
            after=queries.placed(query.after, order),
            limit=query.limit,
        )
        histories = listings.histories(session, [job.id for job in page.jobs])
    following = queries.following(page, order)
    queries.link(request, response, following)
    data = [shapes.Job.of(job, histories[job.id]) for job in page.jobs]
    return shapes.JobPage(data=data, has_more=page.has_more, next=following)


@router.get("/{job_id}", responses=problems_of(errors.NotAcceptableError, errors.JobNotFoundError))
def get_job(job_id: found.JobId) -> shapes.Job:
    """Look at a job."""
    with reading() as session:
        return _shape(session, found.job(session, job_id))


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    responses=problems_of(errors.NotAcceptableError, errors.JobNotFoundError),
)
def cancel_job(job_id: found.JobId) -> shapes.Job:
    """Ask a job to end. The best network so far is delivered; an ended job stays as it is."""
    with transaction() as session:
        try:
            job = jobs.request_cancel(session, job_id)
        except jobs.NoSuchJobError:
            raise found.no_job(job_id) from None
        return _shape(session, job)


def _replay(spec: JobSpec, key: str | None) -> shapes.Job | None:
    """Return the job that a key made before.

    Asked before planning, so that a repeated request is answered alike even if, meanwhile, the
    service would refuse it.
    """
    if key is None:
        return None
    with reading() as session:
        job = jobs.by_key(session, key)
        return None if job is None else _shape(session, _same(job, spec))


def _create(spec: JobSpec, plan: str, key: str | None) -> tuple[shapes.Job, bool]:
    """Return the job, and whether it is new: another request may have used the key just now."""
    planned = Plan.from_json(plan)
    with transaction() as session:
        migrate.require(session)  # a newer version may have come since the start
        job = jobs.create(session, spec, planned, key)
        return _shape(session, _same(job, spec)), jobs.is_new(session, job)


def _same(job: Job, spec: JobSpec) -> Job:
    if not jobs.is_asked_by(job, spec):
        raise errors.IdempotencyKeyReusedError(
            f"the Idempotency-Key belongs to {job.id}, which was another request; "
            "use a new key for a new job",
            errors=[
                errors.FieldError(
                    pointer="/idempotency-key",
                    code="idempotency_key_reused",
                    message="used before, with another body",
                    place="header",
                )
            ],
        )
    return job


def _shape(session: Session, job: Job) -> shapes.Job:
    return shapes.Job.of(job, listings.histories(session, [job.id])[job.id])
