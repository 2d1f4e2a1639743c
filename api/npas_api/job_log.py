"""/v1/jobs/{id}/log: what the trainings of a job said, claim by claim.

Which files are read follows from the rows of the job and the numbers of its claims; nothing of a
request becomes part of a path.
"""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from npas_store import jobs, logs
from npas_store.database import reading
from npas_store.logs import Piece
from npas_store.tables import Attempt
from pydantic import BaseModel, ConfigDict, Field

from npas_api import content_negotiation, dependencies, errors
from npas_api.openapi import problems_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

TEXT = "text/plain"
_MAX_CLAIM = 2**31 - 1
_Place = tuple[int, int]
"""A claim, and a byte of its log."""


class LogQuery(BaseModel):
    """Which part of the log."""

    model_config = ConfigDict(extra="forbid")

    claim: int | None = Field(None, ge=1, le=_MAX_CLAIM, description="of this claim alone")
    tail: int | None = Field(None, ge=1, le=100_000, description="only the last lines")
    after: str | None = Field(
        None,
        pattern=r"^\d{1,9}:\d{1,15}$",
        description="only what came later: from the Link header of the answer before",
    )


@router.get(
    "/{job_id}/log",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Plain text; the Link header (rel=next) says how to go on after it.",
            "content": {TEXT: {"schema": {"type": "string"}}},
        },
        **problems_of(
            *(errors.NotAcceptableError, errors.JobNotFoundError),
            *(errors.ClaimNotFoundError, errors.InvalidRequestError),
        ),
    },
)
def job_log(
    request: Request,
    job_id: dependencies.JobId,
    query: Annotated[LogQuery, Query()],
) -> Response:
    """Read what the trainings of a job said, as far as there is any; claims have headings.

    Of a claim's log the last part is kept. Whether more will come, the job's state says.
    """
    content_negotiation.preferred(request, TEXT)
    with reading() as session:
        dependencies.job(session, job_id)
        attempts = jobs.attempts(session, job_id)
    found = logs.of_claims(job_id)
    wanted = [row for row in attempts if query.claim in (None, row.claim_number)]
    numbers = [row.claim_number for row in wanted]
    if query.claim is not None and not numbers:
        told = f"{job_id} has no claim {query.claim}; it was claimed {len(attempts)} times"
        raise errors.ClaimNotFoundError(told)
    start = _start(query, numbers, found)
    response = StreamingResponse(
        _decoded(_text(wanted, found, start)),
        media_type=f"{TEXT}; charset=utf-8",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )
    claim_number, stop = start or (numbers[-1] if numbers else 0, 0)
    if numbers and numbers[-1] >= claim_number:
        parts = found.get(numbers[-1], ())
        claim_number, stop = numbers[-1], parts[-1].stop if parts else 0
    following = request.url.remove_query_params("tail")
    following = following.include_query_params(after=f"{claim_number}:{stop}")
    response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return response


def _start(
    query: LogQuery, numbers: Sequence[int], found: Mapping[int, Sequence[Piece]]
) -> _Place | None:
    """Return where to begin; None: at the beginning."""
    start: _Place | None = None
    if query.after is not None:
        claim_number, byte = map(int, query.after.split(":"))
        start = claim_number, byte
    if query.tail is None:
        return start
    left = query.tail
    for number in reversed(numbers):
        byte, lines = logs.last_lines(found.get(number, ()), left)
        left -= lines
        if left == 0:
            return max(start or (0, 0), (number, byte))
    return start


def _text(
    attempts: Sequence[Attempt], found: Mapping[int, Sequence[Piece]], start: _Place | None
) -> Iterator[bytes]:
    from_claim, from_byte = start or (0, 0)
    for attempt in attempts:
        number = attempt.claim_number
        if number < from_claim:
            continue
        byte = from_byte if number == from_claim else 0
        parts = found.get(number, ())
        if byte == 0:
            yield _heading(attempt)
        first = parts[0].start if parts else 0
        if first > byte:
            yield b"... %d bytes before this are not kept\n" % (first - byte)
        for part in parts:
            yield from logs.read(part, max(byte, part.start))


def _heading(attempt: Attempt) -> bytes:
    began = f"{attempt.started_at:%Y-%m-%dT%H:%M:%SZ}"
    ended = f"{attempt.ended_at:%Y-%m-%dT%H:%M:%SZ}" if attempt.ended_at else "now"
    told = f"claim {attempt.claim_number} by {attempt.worker}, {began} to {ended}"
    return f"=== {told}: {attempt.outcome or 'goes on'} ===\n".encode()


def _decoded(chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield text, whatever bytes a training wrote."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
