"""Every way a request fails, and its HTTP status. The class name, in snake case, is the wire code.

The first line of a docstring is the title of the problem, for people. Statuses are written here
and nowhere else.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from npas import errors as library
from starlette.exceptions import HTTPException

Place = Literal["body", "query", "header"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """One thing wrong with one part of a request.

    Args:
        pointer: JSON pointer into the body, or "/name" of a query parameter or header.
        code: what kind of wrong, for programs, such as "missing".
        message: what was given, what is allowed.
        place: what the pointer points into; sent as "in".
    """

    pointer: str
    code: str
    message: str
    place: Place = "body"

    def to_json(self) -> dict[str, str]:
        """Return the members as they are sent."""
        members = asdict(self)
        return {"in": members.pop("place"), **members}


class ApiError(HTTPException):
    """Root of all refusals.

    It is an `HTTPException` because that is what Starlette lets through from every layer.

    Args:
        detail: this occurrence, for people; the title when left out.
        errors: the fields to blame.
        headers: headers the status asks for, such as `Allow`.
        members: more members of the problem document.
    """

    status: ClassVar[int] = 500

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(self.status, detail or title(type(self)), headers)
        self.errors = tuple(errors)
        self.members = dict(members or {})


class BadRequestError(ApiError):
    """The request cannot be understood."""

    status = 400


class InvalidJsonError(ApiError):
    """The body is not JSON."""

    status = 400


class InvalidRangeError(ApiError):
    """The Range header cannot be understood."""

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


class PlanNotFoundError(ApiError):
    """The job has no plan of this version."""

    status = 404


class ArtifactNotFoundError(ApiError):
    """The job has no artifact of this name."""

    status = 404


class MethodNotAllowedError(ApiError):
    """The address does not answer this HTTP method."""

    status = 405


class NotAcceptableError(ApiError):
    """The answer has none of the media types that Accept asks for."""

    status = 406


class ArtifactGoneError(ApiError):
    """The artifact is on record, but its bytes are no longer stored."""

    status = 410


class ArtifactDamagedError(ApiError):
    """The artifact's bytes are no longer those that the job delivered."""

    status = 410


class BodyTooLargeError(ApiError):
    """The body is larger than a request may be."""

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


class DatasetUnusableError(ApiError):
    """The dataset cannot be used."""

    status = 422


class TooLargeError(ApiError):
    """The training needs more memory than any device has."""

    status = 422


class PlanTooLargeError(ApiError):
    """The plan takes more time or memory than one request may have."""

    status = 422


class InternalError(ApiError):
    """The service failed; the request was not at fault."""

    status = 500


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


LIBRARY: Mapping[str, type[ApiError]] = {
    library.InfeasibleBudgetError.code: InfeasibleBudgetError,
    library.InvalidSpecError.code: InvalidSpecError,
    library.UnknownNameError.code: UnknownNameError,
    library.DataError.code: DatasetUnusableError,
    library.TooLargeError.code: TooLargeError,
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


def invalid(errors: Sequence[FieldError]) -> InvalidRequestError:
    """Return the refusal of a request with these fields wrong, told by the first of them."""
    first, more = errors[0], len(errors) - 1
    detail = f"{first.pointer or 'the request'}: {first.message}"
    return InvalidRequestError(detail + (f" (and {more} more)" if more else ""), errors=errors)


def code(error: type[Exception]) -> str:
    """Return the wire code of an error: InfeasibleBudgetError is "infeasible_budget"."""
    name = error.__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def title(error: type[ApiError]) -> str:
    """Return the first line of the error's docstring without its period."""
    assert error.__doc__ is not None
    return error.__doc__.splitlines()[0].rstrip(".")
