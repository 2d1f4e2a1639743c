"""/v1/jobs/{id}/artifacts: the files that a job delivered.

A name from a client is looked up among the rows of the job; it never becomes part of a path.
"""

import base64
import re

from fastapi import APIRouter, Depends, Request, Response
from npas_store import artifacts, blobs
from npas_store.database import reading
from npas_store.tables import Artifact
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from npas_api import content_negotiation, dependencies, errors, schemas
from npas_api.errors import FieldError
from npas_api.openapi import problems_of

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])

_AGAIN = "the same request under a new Idempotency-Key makes it again"
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)


class ArtifactResponse(FileResponse):
    """A file with ranges, whose refusals are problem documents like all others."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or the part that the Range header asks for."""

        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                raise self._refusal(message)
            await send(message)

        await super().__call__(scope, receive, checked)

    def _refusal(self, message: Message) -> errors.ApiError:
        headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        size = headers.get("content-range", "")
        if message["status"] == errors.InvalidRangeError.status:
            return _refused_range(errors.InvalidRangeError, "a range looks like bytes=0-1023", {})
        told = f"the file has {size.removeprefix('bytes */')} bytes"
        return _refused_range(errors.RangeNotSatisfiableError, told, {"Content-Range": size})


def _refused_range(
    kind: type[errors.ApiError], told: str, headers: dict[str, str]
) -> errors.ApiError:
    blame = FieldError(pointer="/range", code=errors.code(kind), message=told, place="header")
    return kind(f"{errors.title(kind)}; {told}", errors=[blame], headers=headers)


@router.get(
    "/{job_id}/artifacts",
    dependencies=[Depends(content_negotiation.json_only)],
    responses=problems_of(errors.NotAcceptableError, errors.JobNotFoundError),
)
def list_artifacts(job_id: dependencies.JobId) -> schemas.ArtifactList:
    """List the files that a job delivered, and say which are no longer as they were."""
    with reading() as session:
        dependencies.job(session, job_id)
        rows = artifacts.listing(session, job_id)
    return schemas.ArtifactList(data=[schemas.Artifact.of(row, _state(row)) for row in rows])


@router.head("/{job_id}/artifacts/{name}", include_in_schema=False)
@router.get(
    "/{job_id}/artifacts/{name}",
    response_class=ArtifactResponse,
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        206: {"description": "The part that Range asked for."},
        304: {"description": "The client has it already (If-None-Match)."},
        **problems_of(
            *(errors.InvalidRangeError, errors.JobNotFoundError, errors.ArtifactNotFoundError),
            *(errors.ArtifactGoneError, errors.ArtifactDamagedError),
            errors.RangeNotSatisfiableError,
        ),
    },
)
def download_artifact(request: Request, job_id: dependencies.JobId, name: str) -> Response:
    """Download a file; it can be continued (Range, If-Range) and checked (Repr-Digest)."""
    artifact = _row(job_id, name)
    etag = f'"sha256:{artifact.sha256}"'
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    headers = {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, no-cache",  # keep it, but ask: a running job may replace it
        "X-Content-Type-Options": "nosniff",
    }
    if content_negotiation.is_known(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    state = _state(artifact)
    if state == "missing":
        raise errors.ArtifactGoneError(
            f"{artifact.name} of {job_id} is no longer on the server's disk; {_AGAIN}"
        )
    if state == "damaged":
        raise errors.ArtifactDamagedError(
            f"{artifact.name} of {job_id} was damaged on the server's disk; {_AGAIN}"
        )
    path = blobs.path(artifact.sha256)
    return ArtifactResponse(
        path, headers=headers, media_type=artifact.media_type, filename=artifact.name
    )


def _state(artifact: Artifact) -> blobs.State:
    return blobs.state(blobs.Blob(sha256=artifact.sha256, bytes=artifact.bytes))


def _row(job_id: str, name: str) -> Artifact:
    with reading() as session:
        dependencies.job(session, job_id)
        artifact = artifacts.find(session, job_id, name) if _NAME.fullmatch(name) else None
        if artifact is None:
            names = [row.name for row in artifacts.listing(session, job_id)]
            known = ", ".join(names) or "none yet"
            raise errors.ArtifactNotFoundError(
                f"{job_id} has no artifact {name[:100]!r}; it has {known}"
            )
    return artifact
