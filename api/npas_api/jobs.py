"""/v1/jobs: create, list, look at, cancel."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.plans import Plan
from npas.spec import JobSpec
from npas_store import (
    datasets,
    idempotency,
    jobs,
    listings,
    migrate,
    queue_places,
    submission,
)
from npas_store.database import autocommitting, reading, transaction
from npas_store.tables import Job
from sqlalchemy.exc import ProgrammingError
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
from npas_api.estimates import Estimator
from npas_api.idempotency_key import REPLAYED, IdempotencyKey, reused
from npas_api.openapi import EXAMPLE, problems_of, request_body
from npas_api.plan_cache import KeptPlan
from npas_api.planning import Planned, Planner, largest_memory, while_awaited
from npas_api.replies import shaped
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
    spec: Annotated[JobSpec, Depends(body(JobSpec))],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a job: search the sharing, train, deliver one file.

    The budget is checked before anything is queued; one that is too small is refused with the
    least that this method, and every other, needs.
    """
    planner: Planner = request.app.state.planner
    estimator: Estimator = request.app.state.estimator
    wanted = _Wanted(spec=spec, key=idempotency_key, estimator=estimator)
    kept = planner.kept(spec)
    made = await run_in_threadpool(_create_kept, wanted, kept) if kept else None
    if made is None:
        made = await run_in_threadpool(_replay, spec, idempotency_key)
    if made is None:
        await run_in_threadpool(_check_start, spec)
        planned = await while_awaited(request, planner.plan_job(spec))
        made = await run_in_threadpool(_create, wanted, planned)
    headers = {"Location": made.job.urls.self}
    if made.is_new:
        for loop in request.app.state.loops:
            loop.wake()  # the message need not wait for the next round
    else:
        headers[REPLAYED] = "true"
    return shaped(made.job, status=202, headers=headers)


@router.get(
    "",
    response_model=schemas.JobPage,
    responses=problems_of(errors.NotAcceptableError, errors.InvalidRequestError),
    openapi_extra=pagination.LABEL_PARAMETER,
)
def list_jobs(query: Annotated[pagination.JobQuery, Query()], request: Request) -> Response:
    """List jobs, the newest first; filters can be combined."""
    wanted, order = pagination.filtered(query), pagination.ordered(query)
    after = pagination.placed(query.after, order)
    with autocommitting() as session:
        page = listings.jobs(session, wanted, order=order, after=after, limit=query.limit)
    following = pagination.following(page, order)
    data = [schemas.Job.of(job, job.transitions) for job in page.jobs]
    answer = shaped(schemas.JobPage(data=data, has_more=page.has_more, next=following))
    pagination.link(request, answer, following)
    return answer


@router.get(
    "/{job_id}",
    response_model=schemas.Job,
    responses=problems_of(errors.NotAcceptableError, errors.JobNotFoundError),
)
def get_job(job_id: dependencies.JobId) -> Response:
    """Look at a job; its ETag names the version of what users can change, for If-Match."""
    with autocommitting() as session:
        job = listings.view(session, job_id)
        if job is None:
            raise dependencies.no_job(job_id)
        queue = queue_places.place(session, job)
    answer = shaped(schemas.Job.of(job, job.transitions, queue=queue))
    preconditions.tell_version(answer, job)
    return answer


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """A request for a job, and who says what it will take."""

    spec: JobSpec
    key: str | None
    estimator: Estimator


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """What a request gets: the job, and whether it is new."""

    job: schemas.Job
    is_new: bool


def _replay(spec: JobSpec, key: str | None) -> _Made | None:
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
        return _Made(job=shape(session, _same(job, spec)), is_new=False)


def _check_start(spec: JobSpec) -> None:
    """Check the file that a job is to start from, before anything is planned."""
    if spec.start is not None:
        with reading() as session:
            starts.require_start(session, spec)


def _create_kept(wanted: _Wanted, kept: KeptPlan) -> _Made | None:
    """Return the job, of a plan that was made before; None: it has to be made anew."""
    if largest_memory() != kept.memory_bytes:
        return None
    return _create(wanted, Planned(plan=kept.document, work=kept.work), kept.plan)


def _create(wanted: _Wanted, planned: Planned, plan: Plan | None = None) -> _Made:
    """Return the job, new or not: another request may have used the key just now."""
    spec, plan = wanted.spec, plan or Plan.from_json(planned.plan)
    estimate = wanted.estimator.estimate(planned.work)
    with _opened(spec) as session:
        starts.hold_start(session, spec)
        try:
            job, is_new = jobs.create_once(
                session,
                spec,
                plan,
                wanted.key,
                estimate=estimate,
                plan_json=planned.plan,
                schema=migrate.head(),
            )
        except jobs.NoSuchJobError:  # the key made something else
            raise reused("what is no job") from None
        except (jobs.OtherSchemaError, ProgrammingError):
            migrate.require()  # a newer version may have come since the start
            raise
        if not is_new:
            return _Made(job=shape(session, _same(job, spec)), is_new=False)
    return _Made(job=schemas.Job.of(job, submission.first_history(job)), is_new=True)


def _opened(spec: JobSpec) -> AbstractContextManager[Session]:
    """Return a session to create a job in: a transaction where something has to be held for it."""
    needs_one = spec.start is not None or spec.dataset.name.startswith(datasets.PREFIX)
    return transaction() if needs_one else autocommitting()


def _same(job: Job, spec: JobSpec) -> Job:
    if not jobs.is_asked_by(job, spec):
        raise reused(job.id)
    return job


def shape(session: Session, job: Job) -> schemas.Job:
    """Return the shape of one job."""
    return schemas.Job.of(job, listings.histories(session, [job.id])[job.id])
