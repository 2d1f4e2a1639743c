"""/v1/sweeps: many jobs as one: create, list, look at, cancel, delete."""

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.spec.sweep import SweepSpec
from npas_store import idempotency, migrate, sweep_views, sweeps, tables
from npas_store.database import reading, transaction
from npas_store.listings import Order, Place
from pydantic import AwareDatetime, Field
from sqlalchemy.orm import Session

from npas_api import content_negotiation, errors, pagination, schemas
from npas_api.idempotency_key import REPLAYED, IdempotencyKey, reused
from npas_api.openapi import SWEEP_EXAMPLE, problems_of, request_body
from npas_api.planning import while_awaited
from npas_api.request_body import body
from npas_api.sweep_planning import PlannedSweep, plan_sweep
from npas_api.sweep_schemas import Sweep, SweepDeletion, SweepPage

router = APIRouter(
    prefix="/v1/sweeps", tags=["sweeps"], dependencies=[Depends(content_negotiation.json_only)]
)

_SWEEP_ID = re.compile(r"sweep_[0-9a-f]{32}")


def checked_sweep_id(sweep_id: str) -> str:
    """Return a sweep's id; a dependency.

    Raises:
        SweepNotFoundError: no sweep can have such an id.
    """
    if not _SWEEP_ID.fullmatch(sweep_id):
        raise _no_sweep(sweep_id)
    return sweep_id


SweepId = Annotated[str, Depends(checked_sweep_id)]
"""The {sweep_id} of an address."""


def sweep(session: Session, sweep_id: str) -> tables.Sweep:
    """Return a sweep's row.

    Raises:
        SweepNotFoundError: there is none.
    """
    try:
        return sweeps.lookup(session, sweep_id)
    except sweeps.NoSuchSweepError:
        raise _no_sweep(sweep_id) from None


@router.post(
    "",
    status_code=202,
    responses=problems_of(
        *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
        *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError, errors.InvalidSpecError),
        *(errors.UnknownNameError, errors.InfeasiblePointsError, errors.DatasetUnusableError),
        *(errors.TooLargeError, errors.IdempotencyKeyReusedError, errors.PlanTooLargeError),
        *(errors.BusyError, errors.PlannerUnavailableError, errors.SchemaMismatchError),
    ),
    openapi_extra=request_body(SweepSpec, example=SWEEP_EXAMPLE),
)
async def create_sweep(
    request: Request,
    response: Response,
    spec: Annotated[SweepSpec, Depends(body(SweepSpec))],
    idempotency_key: IdempotencyKey = None,
) -> Sweep:
    """Queue a job for every network, budget, method and seed, and a dense baseline for each.

    All are planned before any is queued: all jobs are made, or none.
    """
    earlier = await run_in_threadpool(_replay_sweep, spec, idempotency_key)
    if earlier is None:
        state = request.app.state
        planning = plan_sweep(state.planner, state.estimator.estimate, spec)
        planned = await while_awaited(request, planning)
        answer, is_new = await run_in_threadpool(_create_sweep, spec, planned, idempotency_key)
        for loop in request.app.state.loops:
            loop.wake()  # the messages need not wait for the next round
    else:
        answer, is_new = earlier, False
    response.headers["Location"] = answer.urls.self
    if not is_new:
        response.headers[REPLAYED] = "true"
    return answer


class SweepQuery(pagination.PageQuery):
    """Which sweeps."""

    created_after: AwareDatetime | None = None
    sort: Literal["created_at", "-created_at"] = Field(
        "-created_at", description="with a minus, the newest first"
    )


@router.get(
    "",
    responses=problems_of(errors.NotAcceptableError, errors.InvalidRequestError),
    openapi_extra=pagination.LABEL_PARAMETER,
)
def list_sweeps(
    query: Annotated[SweepQuery, Query()], request: Request, response: Response
) -> SweepPage:
    """List sweeps, the newest first."""
    order = Order(by="created_at", descending=query.sort.startswith("-"))
    labels = pagination.labels_of(query.model_extra or {}, SweepQuery)
    with reading() as session:
        rows, has_more = sweep_views.page(
            session,
            labels=labels,
            created_after=query.created_after,
            descending=order.descending,
            after=pagination.placed(query.after, order),
            limit=query.limit,
        )
        summaries = sweep_views.summaries(session, rows)
    following = None
    if has_more:
        place = Place(value=rows[-1].created_at, id=rows[-1].id)
        following = pagination.cursor(order, place)
    pagination.link(request, response, following)
    data = [Sweep.of(row, summaries[row.id]) for row in rows]
    return SweepPage(data=data, has_more=has_more, next=following)


@router.get(
    "/{sweep_id}", responses=problems_of(errors.NotAcceptableError, errors.SweepNotFoundError)
)
def get_sweep(sweep_id: SweepId) -> Sweep:
    """Look at a sweep: how many of its jobs are in which state."""
    with reading() as session:
        return _shaped(session, sweep(session, sweep_id))


@router.post(
    "/{sweep_id}/cancel",
    status_code=202,
    responses=problems_of(errors.NotAcceptableError, errors.SweepNotFoundError),
)
def cancel_sweep(sweep_id: SweepId) -> Sweep:
    """Ask all jobs of a sweep to end, those that wait at once; ended ones stay as they are."""
    with transaction() as session:
        try:
            return _shaped(session, sweeps.cancel_all(session, sweep_id))
        except sweeps.NoSuchSweepError:
            raise _no_sweep(sweep_id) from None


@router.delete(
    "/{sweep_id}",
    responses=problems_of(
        errors.NotAcceptableError, errors.SweepNotFoundError, errors.SweepGoesOnError
    ),
)
def delete_sweep(sweep_id: SweepId) -> SweepDeletion:
    """Delete a sweep and all its jobs, once they have ended, with everything that is theirs."""
    try:
        num_jobs, freed = sweeps.delete_sweep(sweep_id)
    except sweeps.NoSuchSweepError:
        raise _no_sweep(sweep_id) from None
    except sweeps.SweepGoesOnError as error:
        raise errors.SweepGoesOnError(
            f"{error.num_open} jobs of {sweep_id} have not ended; end them with "
            f"POST /v1/sweeps/{sweep_id}/cancel, and delete it once they have"
        ) from None
    return SweepDeletion(id=sweep_id, num_jobs=num_jobs, freed=schemas.Freed.model_validate(freed))


def _replay_sweep(spec: SweepSpec, key: str | None) -> Sweep | None:
    """Return the sweep that a key made before; see the same for jobs."""
    if key is None:
        return None
    with reading() as session:
        if idempotency.known(session, key) is None:
            return None
        return _known(session, spec, key)


def _create_sweep(spec: SweepSpec, planned: PlannedSweep, key: str | None) -> tuple[Sweep, bool]:
    """Return the sweep, and whether it is new: another request may have used the key just now."""
    with transaction() as session:
        migrate.require(session)
        sweep_id, is_new = sweeps.submit(
            session, spec, planned.children, left_out=planned.left_out, idempotency_key=key
        )
        if key is not None and not is_new:
            return _known(session, spec, key), False
        return _shaped(session, sweep(session, sweep_id)), True


def _known(session: Session, spec: SweepSpec, key: str) -> Sweep:
    """Return the sweep that a used key belongs to.

    Raises:
        IdempotencyKeyReusedError: it belongs to another request.
    """
    known = idempotency.known(session, key)
    if known is None:
        raise errors.SweepNotFoundError("what was made under this key was deleted just now")
    if not sweeps.is_sweep_of(session, known, spec):
        raise reused(known.resource)
    return _shaped(session, sweep(session, known.resource))


def _shaped(session: Session, row: tables.Sweep) -> Sweep:
    session.flush()
    return Sweep.of(row, sweep_views.summaries(session, [row])[row.id])


def _no_sweep(sweep_id: str) -> errors.SweepNotFoundError:
    return errors.SweepNotFoundError(f"there is no sweep {sweep_id[:100]!r}")
