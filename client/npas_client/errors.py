"""What a call to the service can end in, one class per thing a caller would do about it."""

from collections.abc import Mapping
from typing import Any, Self

import httpx


class ServiceError(Exception):
    """The service did not do what was asked; the message says why and what to do.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        code: the stable word for the error, such as "infeasible_budget".
        errors: for a refused request, one entry per fault: pointer, code, message.
        request_id: names the request in the service's log, "" when unknown.
        problem: the whole problem document (RFC 9457), as it came.
    """

    def __init__(
        self, message: str, *, status: int = 0, problem: Mapping[str, Any] | None = None
    ) -> None:
        self.status = status
        self.problem = dict(problem or {})
        self.code = str(self.problem.get("code", ""))
        self.errors: list[dict[str, Any]] = list(self.problem.get("errors") or ())
        self.request_id = str(self.problem.get("request_id", ""))
        super().__init__(message)


class UnreachableError(ServiceError):
    """Nothing answered at the address, also not after a few tries."""


class InvalidRequestError(ServiceError):
    """The request has a fault; `errors` says where. Sending it again does not help."""


class InfeasibleBudgetError(InvalidRequestError):
    """The budget is below the smallest network the method can make.

    Attributes:
        minimum: the fewest trainable parameters that this method reaches.
        alternatives: the same number for the other methods, by name.
    """

    @property
    def minimum(self) -> int:
        """The fewest trainable parameters that this method reaches."""
        return int(self.problem["minimum"])

    @property
    def alternatives(self) -> dict[str, int]:
        """The same number for the other methods, by name."""
        return dict(self.problem.get("alternatives") or {})


class InfeasiblePointsError(InvalidRequestError):
    """Budgets of a sweep are below their minimum.

    Attributes:
        points: where they stand in the lists of the sweep, and the minimum of each.
    """

    @property
    def points(self) -> list[dict[str, Any]]:
        """Where they stand in the lists of the sweep, and the minimum of each."""
        return list(self.problem.get("points") or ())


class NotFoundError(ServiceError):
    """There is no such job or artifact, or not yet."""


class ConflictError(ServiceError):
    """The job's state does not allow it, or it was changed since it was looked at."""


class UnavailableError(ServiceError):
    """The service is overloaded or starting; it was tried again and still refused."""


class DownloadError(ServiceError):
    """The bytes that arrived are not the artifact's, by its sha256."""


class ExportFailedError(ServiceError):
    """An export cannot be made; `code` is that of its reason."""

    @classmethod
    def of(cls, reason: Mapping[str, Any]) -> Self:
        """Return the error of an export that failed for a reason."""
        told = " ".join(filter(None, (reason.get("message", ""), reason.get("hint", ""))))
        return cls(told or "the export failed", problem={"code": reason.get("code", "")})


class UploadError(ServiceError):
    """The service does not take the bytes of a dataset, however often they are sent."""


_BY_STATUS: dict[int, type[ServiceError]] = {
    400: InvalidRequestError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


_BY_CODE: dict[str, type[ServiceError]] = {
    "infeasible_budget": InfeasibleBudgetError,
    "infeasible_points": InfeasiblePointsError,
}


def from_response(response: httpx.Response) -> ServiceError:
    """Turn a refusal into the error a caller can catch.

    Args:
        response: status 400 or above, its body read.
    """
    try:
        problem = response.json()
    except ValueError:  # a proxy's page, not ours
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    kind = _BY_STATUS.get(response.status_code, ServiceError)
    kind = _BY_CODE.get(str(problem.get("code")), kind)
    message = problem.get("detail") or problem.get("title") or response.reason_phrase
    request_id = problem.get("request_id")
    tail = f" [request {request_id}]" if request_id else ""
    return kind(f"{message}{tail}", status=response.status_code, problem=problem)
