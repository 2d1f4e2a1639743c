"""/v1/jobs/{id}/events: what happened, as a list or live.

The stream is served by number, from what the hub has of the table or from the table itself, so it
is right after any restart of anything; the connection is only a way to hear sooner.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from npas_store import events
from npas_store.database import reading
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.exc import OperationalError

from npas_api import content_negotiation, dependencies, errors, pagination, schemas
from npas_api.hub import Hub, Watched
from npas_api.openapi import problems_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

PING_SECONDS = 15.0
RETRY_MILLISECONDS = 3000
DELETED = "deleted"
"""What the last event of a stream says in place of a state where the job is gone."""
_MAX_SEQ = 2**31 - 1
_Type = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,63}$")]


class EventQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, le=_MAX_SEQ, description="only those above this seq")
    limit: int = Field(100, ge=1, le=100, description="of the list")
    type: list[_Type] = Field(
        default=[], max_length=10, description="any of these: state, phase, metrics, ..."
    )


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

    An epoch is an event of type `metrics`, whose data are its row of the learning curve.

    The stream sends each event under its seq as id, and last an event `end` with the job's final
    state. After that there is nothing to reconnect for, which is said by 204.
    """
    offers = (content_negotiation.JSON, content_negotiation.EVENTS)
    if content_negotiation.preferred(request, *offers) == content_negotiation.JSON:
        return await run_in_threadpool(_listed, request, response, job_id, query)
    hub: Hub = request.app.state.hub
    seq = query.after if last_event_id is None else last_event_id
    watched = await hub.find(job_id)
    if seq > 0 and watched.has_ended and not await _has_more(hub, watched, seq, query.type):
        return Response(status_code=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return EventSourceResponse(_stream(hub, watched, seq, query.type), headers=headers)


def _listed(
    request: Request, response: Response, job_id: str, query: EventQuery
) -> schemas.EventPage:
    with reading() as session:
        dependencies.job(session, job_id)
        rows = events.after(session, job_id, query.after, query.limit + 1, types=query.type)
    data = [schemas.Event.model_validate(row) for row in rows[: query.limit]]
    following = data[-1].seq if len(rows) > query.limit else None
    pagination.link(request, response, following)
    return schemas.EventPage(data=data, has_more=following is not None, next=following)


async def _has_more(hub: Hub, watched: Watched, seq: int, types: Sequence[str]) -> bool:
    """Tell whether an ended job has events of these types after a number; none: of all."""
    while frames := await hub.after(watched, seq):
        if not types or any(frame.type in types for frame in frames):
            return True
        seq = frames[-1].seq
    return False


async def _stream(
    hub: Hub, watched: Watched, seq: int, types: Sequence[str]
) -> AsyncIterator[bytes]:
    """Yield the stream; if Postgres goes away it just ends, and clients come back for the rest."""
    yield format_sse_event(retry=RETRY_MILLISECONDS, comment=watched.job_id)
    pinged = time.monotonic()
    with hub.watching(watched):
        while not hub.is_closing:
            changed = watched.changed
            try:
                frames = await hub.after(watched, seq)
            except OperationalError:
                return
            chosen = [frame.content for frame in frames if not types or frame.type in types]
            if chosen:
                pinged = time.monotonic()
                yield b"".join(chosen)
            elif time.monotonic() - pinged >= PING_SECONDS:
                pinged = time.monotonic()
                yield KEEPALIVE_COMMENT
            if frames:
                seq = frames[-1].seq
            elif watched.has_ended or watched.is_lost:
                if told := _last_words(watched):
                    yield told
                return
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_SECONDS - (time.monotonic() - pinged)):
                        await changed.wait()
                await hub.turn()


def _last_words(watched: Watched) -> bytes | None:
    """Return the event `end` of a job that has ended or is gone; none where Postgres is away."""
    if watched.is_lost and not watched.is_deleted:
        return None
    state = DELETED if watched.is_deleted else watched.state
    return format_sse_event(data_str=json.dumps({"state": state}), event="end")
