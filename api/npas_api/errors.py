"""Every way a request fails, and its HTTP status. The class name, in snake case, is the wire code.

The first line of a docstring is the title of the problem, for people. Statuses are written here
and nowhere else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from npas import errors as library

from npas_api.refusal import ApiError as ApiError
from npas_api.refusal import FieldError as FieldError
from npas_api.refusal import Place as Place
from npas_api.refusal import code as code
from npas_api.refusal import title as title


class BadRequestError(ApiError):
    """The request cannot be understood."""

    status = 400


class InvalidJsonError(ApiError):
    """The body is not JSON."""

    status = 400


class InvalidPreconditionError(ApiError):
    """The If-Match header cannot be understood."""

    status = 400


class InvalidRangeError(ApiError):
    """The Range header cannot be understood."""

    status = 400


class InvalidContentRangeError(ApiError):
    """The Content-Range header cannot be understood."""

    status = 400


class UploadLengthError(ApiError):
    """The body has more or fewer bytes than were announced."""

    status = 400


class HostNotAllowedError(ApiError):
    """The request is for a host that this service does not answer for."""

    status = 403


class OriginNotAllowedError(ApiError):
    """A page of another origin may not change anything here."""

    status = 403


class NotFoundError(ApiError):
    """There is nothing at this address; /openapi.json lists what there is."""

    status = 404


class JobNotFoundError(ApiError):
    """There is no such job."""

    status = 404


class SweepNotFoundError(ApiError):
    """There is no such sweep."""

    status = 404


class ClaimNotFoundError(ApiError):
    """The job was never claimed so often."""

    status = 404


class PlanNotFoundError(ApiError):
    """The job has no plan of this version."""

    status = 404


class ExportNotFoundError(ApiError):
    """The job has no export of this id."""

    status = 404


class ArtifactNotFoundError(ApiError):
    """The job has no artifact of this name."""

    status = 404


class EnsembleNotFoundError(ApiError):
    """The job has nothing to say of several networks together, or not yet."""

    status = 404


class DatasetNotFoundError(ApiError):
    """There is no such dataset among those that were sent."""

    status = 404


class ThumbnailsNotFoundError(ApiError):
    """The dataset has no picture of its images."""

    status = 404


class MethodNotAllowedError(ApiError):
    """The address does not answer this HTTP method."""

    status = 405


class NotAcceptableError(ApiError):
    """The answer has none of the media types that Accept asks for."""

    status = 406


class JobNotEndedError(ApiError):
    """The job has not ended."""

    status = 409


class UploadStalledError(ApiError):
    """The body stopped coming."""

    status = 408


class UploadOffsetError(ApiError):
    """The part does not begin where the last one ended."""

    status = 409


class UploadBusyError(ApiError):
    """Another request sends bytes of this dataset at this moment."""

    status = 409


class UploadEndedError(ApiError):
    """The dataset takes no more bytes; send another one."""

    status = 409


class DatasetInUseError(ApiError):
    """Jobs that have not ended read the dataset."""

    status = 409


class JobStateConflictError(ApiError):
    """The job is in a state that does not allow this."""

    status = 409


class ArtifactGoneError(ApiError):
    """The artifact is on record, but its bytes are no longer stored."""

    status = 410


class ArtifactDamagedError(ApiError):
    """The artifact's bytes are no longer those that the job delivered."""

    status = 410


class PreconditionFailedError(ApiError):
    """The job was changed since the version that If-Match names."""

    status = 412


class SweepGoesOnError(ApiError):
    """Jobs of the sweep have not ended."""

    status = 409


class BodyTooLargeError(ApiError):
    """The body is larger than a request may be."""

    status = 413


class DatasetTooLargeError(ApiError):
    """The dataset has more bytes than one may have."""

    status = 413


class UnsupportedMediaTypeError(ApiError):
    """The body has a media type that is not understood."""

    status = 415


class RangeNotSatisfiableError(ApiError):
    """The range lies outside the artifact."""

    status = 416


class InvalidRequestError(ApiError):
    """The request has fields that cannot be used."""

    status = 422


class IdempotencyKeyReusedError(ApiError):
    """The Idempotency-Key was used before, with another request."""

    status = 422


class InvalidSpecError(ApiError):
    """The request has values that are not allowed."""

    status = 422


class UnknownNameError(ApiError):
    """The request names something that does not exist."""

    status = 422


class InfeasibleBudgetError(ApiError):
    """The budget is below the least that the method needs."""

    status = 422


class InfeasiblePointsError(ApiError):
    """Budgets of the sweep are below the least that their methods need."""

    status = 422


class DatasetUnusableError(ApiError):
    """The dataset cannot be used."""

    status = 422


class StartUnusableError(ApiError):
    """The model file that the training is to begin with cannot be used."""

    status = 422


class TooLargeError(ApiError):
    """The training needs more memory than any device has."""

    status = 422


class PlanTooLargeError(ApiError):
    """The plan takes more time or memory than one request may have."""

    status = 422


class TooManyUploadsError(ApiError):
    """Too many uploads are unfinished; finish or delete some, or wait until they expire."""

    status = 429


class InternalError(ApiError):
    """The service failed; the request was not at fault."""

    status = 500


class PackageMissingError(ApiError):
    """The service lacks an optional package that the request needs."""

    status = 501


class BusyError(ApiError):
    """Too many requests of this kind are being answered; try again soon."""

    status = 503


class PlannerUnavailableError(ApiError):
    """The process that makes plans is not there or does not answer; try again soon."""

    status = 503


class DatabaseUnavailableError(ApiError):
    """The database does not answer; try again soon."""

    status = 503


class SchemaMismatchError(ApiError):
    """The database belongs to another version of the service; this one must be replaced."""

    status = 503


class NotReadyError(ApiError):
    """A part of the service is not ready."""

    status = 503


class StorageUnavailableError(ApiError):
    """The service's disk does not take it for now; try again soon."""

    status = 503


class InsufficientStorageError(ApiError):
    """The service's disk has too little room for this."""

    status = 507


LIBRARY: Mapping[str, type[ApiError]] = {
    library.InfeasibleBudgetError.code: InfeasibleBudgetError,
    library.InvalidSpecError.code: InvalidSpecError,
    library.UnknownNameError.code: UnknownNameError,
    library.DataError.code: DatasetUnusableError,
    library.StartError.code: StartUnusableError,
    library.TooLargeError.code: TooLargeError,
    library.MissingPackageError.code: PackageMissingError,
}
"""By code, the library's errors that a request can cause; others are the service's own fault."""


def from_library(
    library_code: str, message: str, *, pointer: str, members: Mapping[str, Any]
) -> ApiError | None:
    """Return the refusal that an error of the library comes to; None: no request can cause it.

    Args:
        library_code: of the error.
        message: its own.
        pointer: JSON pointer of the part of the request that is to blame, "" for the whole.
        members: more members of the problem document.
    """
    kind = LIBRARY.get(library_code)
    if kind is None:
        return None
    pointer = pointer or ("/dataset" if kind is DatasetUnusableError else "")
    blame = FieldError(pointer=pointer, code=code(kind), message=message)
    return kind(message, errors=[blame], members=members)


def unusable_dataset(message: str) -> DatasetUnusableError:
    """Return the refusal of a request whose dataset cannot be used."""
    blame = FieldError(pointer="/dataset", code=code(DatasetUnusableError), message=message)
    return DatasetUnusableError(message, errors=[blame])


def invalid(errors: Sequence[FieldError]) -> InvalidRequestError:
    """Return the refusal of a request with these fields wrong, told by the first of them."""
    first, more = errors[0], len(errors) - 1
    detail = f"{first.pointer or 'the request'}: {first.message}"
    return InvalidRequestError(detail + (f" (and {more} more)" if more else ""), errors=errors)
