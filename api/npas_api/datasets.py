"""/v1/datasets: what a request can name, and the images that users send.

The bytes themselves arrive in `receiving`.
"""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas_store import blobs, datasets, idempotency, migrate, uploads
from npas_store.database import reading, transaction
from npas_store.json_values import fingerprint
from npas_store.settings import settings
from npas_store.tables import Dataset
from sqlalchemy.orm import Session
from starlette.responses import FileResponse

from npas_api import content_negotiation, errors, pagination
from npas_api.dataset_shapes import Dataset as Shape
from npas_api.dataset_shapes import DatasetPage, DatasetQuery, DatasetRequest, RemovedDataset
from npas_api.errors import FieldError
from npas_api.idempotency_key import REPLAYED, IdempotencyKey, reused
from npas_api.openapi import problems_of, request_body
from npas_api.request_body import body

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

EXAMPLE = {"name": "flowers", "format": "images", "bytes": 12_345_678}

_JSON = [Depends(content_negotiation.json_only)]
_ID = re.compile(r"ds_[0-9a-f]{32}")


def checked_dataset(dataset_id: str) -> str:
    """Return a dataset's id; a dependency.

    Raises:
        DatasetNotFoundError: none can have such an id.
    """
    if not _ID.fullmatch(dataset_id):
        raise no_dataset(dataset_id)
    return dataset_id


DatasetId = Annotated[str, Depends(checked_dataset)]
"""The {dataset_id} of an address."""


def no_dataset(dataset_id: str) -> errors.DatasetNotFoundError:
    """Return the refusal of an id that no dataset has."""
    return errors.DatasetNotFoundError(
        f"there is no dataset {dataset_id[:100]!r} among those that were sent; "
        "GET /v1/datasets lists them"
    )


@router.post(
    "",
    status_code=201,
    dependencies=_JSON,
    responses=problems_of(
        *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
        *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError),
        *(errors.DatasetTooLargeError, errors.TooManyUploadsError),
        *(errors.InsufficientStorageError, errors.IdempotencyKeyReusedError),
        errors.SchemaMismatchError,
    ),
    openapi_extra=request_body(DatasetRequest, example=EXAMPLE),
)
def declare_dataset(
    response: Response,
    wanted: Annotated[DatasetRequest, Depends(body(DatasetRequest))],
    idempotency_key: IdempotencyKey = None,
) -> Shape:
    """Announce a dataset; then send its file to `urls.content`, whole or in parts.

    When its last byte is here it is checked, which takes a while: state `processing`. A `ready`
    one is what jobs name `"dataset": "uploaded:ds_..."`; it never changes, and a better one under
    the same name is another dataset. So are weights sent, a safetensors file, with the format
    `weights`: jobs start from them, `"start": {"checkpoint": SHA-256}`.
    """
    _check_size(wanted)
    dataset_id = uploads.new_dataset_id()
    with transaction() as session:
        migrate.require(session)
        row = _known(session, wanted, idempotency_key, dataset_id)
        if row is None:
            row = _declared(session, wanted, dataset_id)
        shape = Shape.of(row)
    response.headers["Location"] = shape.urls.self
    if row.id != dataset_id:
        response.headers[REPLAYED] = "true"
    return shape


@router.get(
    "",
    dependencies=_JSON,
    responses=problems_of(
        *(errors.NotAcceptableError, errors.InvalidRequestError),
        *(errors.BusyError, errors.PlannerUnavailableError),
    ),
    openapi_extra=pagination.LABEL_PARAMETER,
)
async def list_datasets(
    query: Annotated[DatasetQuery, Query()], request: Request, response: Response
) -> DatasetPage:
    """List the datasets that jobs can name, and those that users sent, in whatever state.

    Parameters are about the latter; `format=weights` lists the weights that were sent, and without
    it there are none among them.
    """
    labels = pagination.labels_of(query.model_extra or {}, DatasetQuery)
    wanted = datasets.Wanted(
        format=query.format, name=query.name, states=query.state, labels=labels
    )
    rows, has_more = await run_in_threadpool(_page, wanted, query)
    following = rows[-1].id if has_more else None
    pagination.link(request, response, following)
    here = [] if request.query_params else await request.app.state.planner.catalogue("datasets")
    data = [Shape.of(row) for row in rows]
    return DatasetPage(data=here, uploaded=data, has_more=has_more, next=following)


@router.get(
    "/{dataset_id}",
    dependencies=_JSON,
    responses=problems_of(errors.NotAcceptableError, errors.DatasetNotFoundError),
)
def get_dataset(dataset_id: DatasetId) -> Shape:
    """Look at a dataset that was sent: how far it is, what was found in it."""
    return Shape.of(look_up(dataset_id))


@router.delete(
    "/{dataset_id}",
    dependencies=_JSON,
    responses=problems_of(
        errors.NotAcceptableError, errors.DatasetNotFoundError, errors.DatasetInUseError
    ),
)
def delete_dataset(dataset_id: DatasetId) -> RemovedDataset:
    """Delete a dataset, in whatever state, with its bytes; jobs that have ended stay."""
    try:
        freed = datasets.delete_dataset(dataset_id)
    except datasets.NoSuchDatasetError:
        raise no_dataset(dataset_id) from None
    except datasets.DatasetInUseError as error:
        raise errors.DatasetInUseError(
            f"{dataset_id} is read by jobs that have not ended: {error}; cancel them, or wait"
        ) from None
    return RemovedDataset(id=dataset_id, freed_files=freed.files, freed_bytes=freed.bytes)


@router.head("/{dataset_id}/thumbnails", include_in_schema=False)
@router.get(
    "/{dataset_id}/thumbnails",
    response_class=FileResponse,
    responses={
        200: {"description": "The picture.", "content": {"image/png": {}}},
        304: {"description": "The client has it already (If-None-Match)."},
        **problems_of(errors.DatasetNotFoundError, errors.ThumbnailsNotFoundError),
    },
)
def dataset_thumbnails(request: Request, dataset_id: DatasetId) -> Response:
    """Look at a few images of each class, as jobs read them."""
    sha256 = look_up(dataset_id).thumbnails_sha256
    path = blobs.path(sha256) if sha256 else None
    if path is None or not path.is_file():
        told = "is not ready" if path is None else "has lost its picture on the server's disk"
        raise errors.ThumbnailsNotFoundError(f"{dataset_id} {told}")
    headers = {
        "ETag": f'"sha256:{sha256}"',
        "Cache-Control": "private, max-age=86400, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if content_negotiation.is_known(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type="image/png")


def look_up(dataset_id: str) -> Dataset:
    """Return a dataset's row.

    Raises:
        DatasetNotFoundError: there is none.
    """
    with reading() as session:
        try:
            return datasets.look_up(session, dataset_id)
        except datasets.NoSuchDatasetError:
            raise no_dataset(dataset_id) from None


def _page(wanted: datasets.Wanted, query: DatasetQuery) -> tuple[list[Dataset], bool]:
    with reading() as session:
        rows, has_more = datasets.listing_page(
            session, wanted, after=query.after, limit=query.limit
        )
    return list(rows), has_more


def _check_size(wanted: DatasetRequest) -> None:
    is_weights = wanted.format == datasets.WEIGHTS
    most, variable = (
        (settings().weights_megabytes, "NPAS_WEIGHTS_MEGABYTES")
        if is_weights
        else (settings().dataset_megabytes, "NPAS_DATASET_MEGABYTES")
    )
    allowed = most * uploads.MEGABYTE
    if wanted.bytes > allowed:
        told = f"{wanted.bytes:,} bytes; at most {allowed:,} are allowed ({variable})"
        what = "the file of weights" if is_weights else "the dataset"
        blame = FieldError(pointer="/bytes", code="dataset_too_large", message=told)
        raise errors.DatasetTooLargeError(f"{what} is too large: {told}", errors=[blame])


def _known(
    session: Session, wanted: DatasetRequest, key: str | None, dataset_id: str
) -> Dataset | None:
    """Return the dataset that the same request made before; None: this one is to make it."""
    if key is None:
        return None
    asked = fingerprint({"datasets": wanted.model_dump(mode="json", exclude_unset=True)})
    known = idempotency.reserve(session, key, asked, dataset_id)
    if known == dataset_id:
        return None
    row = idempotency.known(session, key)
    if row is None:
        raise errors.DatasetNotFoundError("what was made under this key was deleted just now")
    if row.request_fingerprint != asked:
        raise reused(known)
    return datasets.look_up(session, known)


def _declared(session: Session, wanted: DatasetRequest, dataset_id: str) -> Dataset:
    try:
        return uploads.declare(
            session,
            dataset_id=dataset_id,
            name=wanted.name,
            format=wanted.format,
            options=wanted.options.model_dump(mode="json", exclude_unset=True),
            labels=wanted.labels,
            num_bytes=wanted.bytes,
            sha256=wanted.sha256,
        )
    except uploads.TooManyUploadsError:
        raise errors.TooManyUploadsError(
            f"{settings().max_uploads} uploads are unfinished, and no more may be "
            "(NPAS_MAX_UPLOADS); finish or delete some: GET /v1/datasets?state=uploading",
            headers={"Retry-After": "60"},
        ) from None
    except uploads.NoRoomError as error:
        raise errors.InsufficientStorageError(
            f"{wanted.bytes:,} bytes are too many: {error}; delete datasets or jobs"
        ) from None
