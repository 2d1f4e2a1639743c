"""/v1/datasets/{id}/content: the bytes of a dataset, in parts, each where the last one ended.

Bytes are counted as they come: Content-Length can be absent, or wrong. What has come is kept
however the request ends; HEAD tells how much that is, and the next part begins there.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas_store import uploads
from npas_store.datasets import NoSuchDatasetError
from npas_store.tables import Dataset
from starlette.requests import ClientDisconnect

from npas_api import errors
from npas_api.dataset_shapes import Dataset as Shape
from npas_api.datasets import DatasetId, look_up, no_dataset
from npas_api.errors import FieldError
from npas_api.openapi import problems_of

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

IDLE_SECONDS = 60.0
"""A body that does not go on for so long has ended: others may want to send."""
_WRITTEN = 1024 * 1024
"""Bytes that are gathered before they are written."""
_KEPT = 16 * 1024 * 1024
"""Bytes that are written before they are recorded: what a killed API may lose."""
_DRAINED = 8 * 1024 * 1024
"""Bytes of a refused body that are read, so that its sender gets to read the refusal."""

_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(\d{1,16})", re.ASCII)
_BODY = {
    "parameters": [
        {
            "name": "Content-Range",
            "in": "header",
            "description": "bytes FIRST-LAST/TOTAL of a part; left out, the body is the whole",
            "schema": {"type": "string", "pattern": "^bytes [0-9]+-[0-9]+/[0-9]+$"},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"format": "binary"}}},
    },
}


_BROKEN = (
    *(ClientDisconnect, errors.UploadStalledError, uploads.NoRoomError),
    asyncio.CancelledError,  # the API is ended
)
"""How a body ends before its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Range:
    """Bytes that a request brings: from `start` to before `end`."""

    start: int
    end: int


@router.head("/{dataset_id}/content", include_in_schema=False)
@router.get(
    "/{dataset_id}/content",
    status_code=204,
    response_class=Response,
    responses={
        204: {
            "description": "Upload-Offset: bytes that are here; Upload-Length: bytes in all.",
        },
        **problems_of(errors.DatasetNotFoundError),
    },
)
def received_content(dataset_id: DatasetId) -> Response:
    """Tell how many bytes are here: the next part begins there."""
    row = look_up(dataset_id)
    return Response(status_code=204, headers=_told(row.received_bytes, row.upload_bytes))


@router.patch("/{dataset_id}/content", include_in_schema=False)
@router.put(
    "/{dataset_id}/content",
    responses=problems_of(
        *(errors.InvalidContentRangeError, errors.UploadLengthError, errors.DatasetNotFoundError),
        *(errors.UploadStalledError, errors.UploadOffsetError, errors.UploadBusyError),
        *(errors.UploadEndedError, errors.UnsupportedMediaTypeError),
        *(errors.InsufficientStorageError, errors.StorageUnavailableError),
    ),
    openapi_extra=_BODY,
)
async def receive_content(request: Request, response: Response, dataset_id: DatasetId) -> Shape:
    """Take bytes of the file: all, or with Content-Range those that come next.

    The last one ends the upload, and the dataset is checked. `Upload-Offset` of every answer is
    how many bytes are here.
    """
    async with _readable(request):
        row = await run_in_threadpool(look_up, dataset_id)
        wanted = _range(request, row)
        with _refusing(row):
            part = await run_in_threadpool(uploads.Part.open, dataset_id, wanted.start)
            try:
                await _take(request, part, wanted)
            finally:
                await asyncio.shield(run_in_threadpool(part.close))
    if part.received == part.total:
        for loop in request.app.state.loops:
            loop.wake()  # where this process checks, it does so at once
    response.headers.update(_told(part.kept, part.total))
    return Shape.of(await run_in_threadpool(look_up, dataset_id))


async def _take(request: Request, part: uploads.Part, wanted: _Range) -> None:
    """Write a body into a part. However that ends, what came before is kept.

    Raises:
        UploadLengthError: it is longer or shorter than announced.
        UploadStalledError: it does not go on.
        ClientDisconnect: it broke off.
    """
    try:
        async for chunk in _gathered(request):
            if part.received + len(chunk) > wanted.end:
                raise _too_long(part, wanted)
            await run_in_threadpool(part.write, chunk)
            if part.received - part.kept >= _KEPT and part.received < part.total:
                await run_in_threadpool(part.keep)
    except _BROKEN:
        with suppress(uploads.NoRoomError):
            await run_in_threadpool(part.keep)
        raise
    await run_in_threadpool(part.keep)
    if part.received < wanted.end:
        came, told = part.received - wanted.start, wanted.end - wanted.start
        raise _at(
            part.kept,
            errors.UploadLengthError,
            f"{told:,} bytes were announced and {came:,} came, which are kept; go on at byte "
            f"{part.kept}",
        )


async def _gathered(request: Request) -> AsyncIterator[bytearray]:
    """Yield a body in pieces that are worth a write.

    Raises:
        UploadStalledError: it does not go on; what came before has been yielded.
        ClientDisconnect: it broke off; likewise.
    """
    gathered, stream = bytearray(), aiter(request.stream())
    broken: Exception | None = None
    while broken is None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                gathered += await anext(stream)
        except StopAsyncIteration:
            break
        except TimeoutError:
            broken = errors.UploadStalledError(
                f"nothing came for {IDLE_SECONDS:g} s; what came before is kept: ask with HEAD "
                "where to go on"
            )
        except ClientDisconnect as error:
            broken = error
        if len(gathered) >= _WRITTEN or broken:
            yield gathered
            gathered = bytearray()
    if broken:
        raise broken
    yield gathered


@asynccontextmanager
async def _readable(request: Request) -> AsyncIterator[None]:
    """Read some of what a refused request still sends: senders that send do not listen."""
    try:
        yield
    except errors.ApiError:
        with suppress(ClientDisconnect, TimeoutError, RuntimeError):  # it was read to its end
            async with asyncio.timeout(IDLE_SECONDS / 10):
                size = 0
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > _DRAINED:
                        break
        raise


@contextmanager
def _refusing(row: Dataset) -> Iterator[None]:
    """Turn the store's refusals into the API's."""
    try:
        yield
    except NoSuchDatasetError:
        raise no_dataset(row.id) from None
    except uploads.OffsetError as error:
        told = f"{error.received} bytes are here, so the next part begins at that byte"
        raise _at(error.received, errors.UploadOffsetError, told) from None
    except uploads.UploadBusyError:
        raise errors.UploadBusyError(headers={"Retry-After": "2"}) from None
    except uploads.UploadEndedError as error:
        raise errors.UploadEndedError(f"{row.id} takes no more bytes: it is {error}") from None
    except uploads.NoRoomError as error:
        raise errors.InsufficientStorageError(
            f"the server's disk has no room for more ({error}); what came before is kept: delete "
            "something, ask with HEAD where to go on, and send the rest"
        ) from None
    except FileNotFoundError:  # its folder went while it was opened
        raise errors.UploadEndedError(f"{row.id} takes no more bytes: it was deleted") from None
    except OSError as error:
        log.error("bytes of %s cannot be written: %s", row.id, error)
        raise errors.StorageUnavailableError(
            f"the server's disk does not take it ({error.strerror}); what came before is kept: "
            "ask with HEAD where to go on, and send the rest later",
            headers={"Retry-After": "10"},
        ) from None


def _range(request: Request, row: Dataset) -> _Range:
    """Return which bytes a request brings.

    Raises:
        InvalidContentRangeError: it does not say it well, or not of this file.
        UnsupportedMediaTypeError: they are encoded.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise errors.UnsupportedMediaTypeError(
            f"Content-Encoding is {coding[:40]!r}; send the bytes of the file as they are",
            errors=[_blame("/content-encoding", "unsupported", "must be left out")],
        )
    given = request.headers.get("content-range")
    if given is None:
        return _Range(start=0, end=row.upload_bytes)
    found = _RANGE.fullmatch(given.strip())
    if found is None:
        raise _bad_range(f"{given[:100]!r} is not like bytes 0-1023/4096")
    start, last, total = map(int, found.groups())
    if total != row.upload_bytes:
        raise _bad_range(f"the file was announced with {row.upload_bytes} bytes, not {total}")
    if not start <= last < total:
        raise _bad_range(f"{given[:100]!r} is no part of {total} bytes")
    return _Range(start=start, end=last + 1)


def _bad_range(told: str) -> errors.InvalidContentRangeError:
    blame = _blame("/content-range", "invalid_content_range", told)
    return errors.InvalidContentRangeError(f"Content-Range: {told}", errors=[blame])


def _blame(pointer: str, code: str, message: str) -> FieldError:
    return FieldError(pointer=pointer, code=code, message=message, place="header")


def _too_long(part: uploads.Part, wanted: _Range) -> errors.ApiError:
    return _at(
        part.kept,
        errors.UploadLengthError,
        f"more came than the {wanted.end - wanted.start:,} bytes that were announced, so that "
        f"none of it is trusted; go on at byte {part.kept}",
    )


def _told(received: int, total: int) -> dict[str, str]:
    return {
        "Upload-Offset": str(received),
        "Upload-Length": str(total),
        "Cache-Control": "no-store",
    }


def _at(received: int, kind: type[errors.ApiError], told: str) -> errors.ApiError:
    """Return a refusal that says where to go on."""
    headers, members = {"Upload-Offset": str(received)}, {"received_bytes": received}
    return kind(told, headers=headers, members=members)
