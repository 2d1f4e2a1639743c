"""/v1/jobs/{id}/events: what happened, as a list or live.

The stream is served from the table by number, so it is right after any restart of anything; the
connection is only a way to hear sooner.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from npas_store import events
from npas_store.database import reading
from npas_store.states import is_terminal
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError

from npas_api import content_negotiation, dependencies, errors, pagination, schemas
from npas_api.openapi import problems_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

POLL_SECONDS = 0.5
PING_SECONDS = 15.0
RETRY_MILLISECONDS = 3000
_BATCH = 100
_MAX_SEQ = 2**31 - 1


class EventQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, le=_MAX_SEQ, description="only those above this seq")
    limit: int = Field(100, ge=1, le=100, description="of the list")


@router.get(
    "/{job_id}/events",
    response_model=schemas.EventPage,
    responses={
        200: {"content": {content_negotiation.EVENTS: {"schema": {"type": "string"}}}},
        204: {"description": "Nothing will come any more (event stream only)."},
        **problems_of(
            errors.NotAcceptableError, errors.JobNotFoundError, errors.InvalidRequestError
        ),
    },
)
async def job_events(
    request: Request,
    response: Response,
    job_id: dependencies.JobId,
    query: Annotated[EventQuery, Query()],
    last_event_id: Annotated[
        int | None, Header(ge=0, le=_MAX_SEQ, description="of the stream; stronger than `after`")
    ] = None,
) -> schemas.EventPage | Response:
    """Read what happened to a job: a list, or with `Accept: text/event-stream` a live stream.

    The stream sends each event under its seq as id, and last an event `end` with the job's final
    state. After that there is nothing to reconnect for, which is said by 204.
    """
    offers = (content_negotiation.JSON, content_negotiation.EVENTS)
    if content_negotiation.preferred(request, *offers) == content_negotiation.JSON:
        return await run_in_threadpool(_listed, request, response, job_id, query)
    seq = query.after if last_event_id is None else last_event_id
    news, ending = await run_in_threadpool(_read, job_id, seq)
    if seq > 0 and ending is not None and not news:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return EventSourceResponse(_stream(request, job_id, seq), headers=headers)


def _listed(
    request: Request, response: Response, job_id: str, query: EventQuery
) -> schemas.EventPage:
    with reading() as session:
        dependencies.job(session, job_id)
        rows = events.after(session, job_id, query.after, query.limit + 1)
    data = [schemas.Event.model_validate(row) for row in rows[: query.limit]]
    following = data[-1].seq if len(rows) > query.limit else None
    pagination.link(request, response, following)
    return schemas.EventPage(data=data, has_more=following is not None, next=following)


def _read(job_id: str, seq: int) -> tuple[list[schemas.Event], str | None]:
    """Return the next events, and the job's final state if there is nothing after them."""
    with reading() as session:
        state = dependencies.job(session, job_id).state
        rows = events.after(session, job_id, seq, _BATCH)
    news = [schemas.Event.model_validate(row) for row in rows]
    return news, state if is_terminal(state) and len(news) < _BATCH else None


async def _stream(request: Request, job_id: str, seq: int) -> AsyncIterator[bytes]:
    """Yield the stream; if Postgres goes away it just ends, and clients come back for the rest."""
    yield format_sse_event(retry=RETRY_MILLISECONDS, comment=job_id)
    pinged = time.monotonic()
    while not request.app.state.closing.is_set():
        try:
            news, ending = await run_in_threadpool(_read, job_id, seq)
        except OperationalError:
            return
        for event in news:
            seq, pinged = event.seq, time.monotonic()
            yield format_sse_event(data_str=event.model_dump_json(), id=str(seq))
        if ending is not None:
            yield format_sse_event(data_str=json.dumps({"state": ending}), event="end")
            return
        if time.monotonic() - pinged > PING_SECONDS:
            pinged = time.monotonic()
            yield KEEPALIVE_COMMENT
        if len(news) < _BATCH:
            await asyncio.sleep(POLL_SECONDS)
