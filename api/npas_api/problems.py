"""Problem documents (RFC 9457): the one shape in which every error leaves the service."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from npas.errors import DataError
from npas_store.migrate import SchemaError
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match

from npas_api import errors
from npas_api.errors import ApiError
from npas_api.validation import blamed

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)

_DATABASE_AWAY = (OperationalError, InterfaceError, TimeoutError)


class ProblemField(BaseModel):
    """One part of the request that is to blame."""

    place: errors.Place = Field(alias="in", description="what the pointer points into")
    pointer: str = Field(description='JSON pointer into the body ("" is all of it), or /name')
    code: str
    message: str


class Problem(BaseModel):
    """Why a request was refused, or failed."""

    type: str = Field(description="urn:npas:problem:CODE")
    title: str
    status: int
    detail: str
    instance: str = Field(description="path of the request")
    code: str = Field(description="stable, for programs")
    request_id: str = Field(description="also in X-Request-Id and in the server's log")
    errors: list[ProblemField]
    method: str | None = Field(None, description="infeasible_budget: the sharing method")
    budget: int | None = Field(
        None, description="infeasible_budget: what was asked for, in its unit"
    )
    minimum: int | None = Field(None, description="infeasible_budget: fewest the method reaches")
    alternatives: dict[str, int] | None = Field(
        None, description="infeasible_budget: the minimum of every other method"
    )
    unit: str | None = Field(None, description="infeasible_budget: parameters or bytes")
    points: list[dict[str, Any]] | None = Field(
        None, description="infeasible_points: each network, method and budget, and its minimum"
    )
    checks: dict[str, str] | None = Field(None, description="not_ready: how each part is")
    received_bytes: int | None = Field(
        None, description="of uploads: bytes that are here; the next part begins there"
    )


def handle_errors(app: FastAPI) -> None:
    """Make every error that reaches the application a problem document."""
    for kind in (HTTPException, RequestValidationError, SchemaError, DataError, *_DATABASE_AWAY):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    if (
        isinstance(error, HTTPException)
        and error.status_code == errors.MethodNotAllowedError.status
    ):
        error = errors.MethodNotAllowedError(headers={"Allow": ", ".join(_methods(request))})
    if isinstance(error, _DATABASE_AWAY):
        log.warning("%s: the database is away: %s", request.state.request_id, error)
    return response(request, error)


def _methods(request: Request) -> list[str]:
    """Return the methods that the address answers; the router looks only at its first match."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] == Match.FULL for route in routes
        )
    ]


def response(connection: HTTPConnection, error: Exception) -> Response:
    """Return the answer for an error.

    Args:
        connection: the request that failed.
        error: any exception; one that nobody foresaw becomes a bare 500, without its text.
    """
    refusal = _refusal(error)
    code = errors.code(type(refusal))
    document = {
        "type": f"urn:npas:problem:{code}",
        "title": errors.title(type(refusal)),
        "status": refusal.status,
        "detail": refusal.detail,
        "instance": connection.scope["path"],  # a url is made with Host, which may be none
        "code": code,
        "request_id": connection.scope.get("state", {}).get("request_id", ""),
        "errors": [field.to_json() for field in refusal.errors],
        **refusal.members,
    }
    # Escaped to ASCII: a refused value may hold what UTF-8 cannot write, such as half a surrogate.
    body = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
    return Response(
        body, refusal.status, headers=dict(refusal.headers or {}), media_type=MEDIA_TYPE
    )


def _refusal(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, _DATABASE_AWAY):
        return errors.DatabaseUnavailableError(headers={"Retry-After": "2"})
    if isinstance(error, SchemaError):
        return errors.SchemaMismatchError(str(error), headers={"Retry-After": "10"})
    if isinstance(error, DataError):  # the store's word of a dataset that users sent
        return errors.unusable_dataset(error.message)
    if isinstance(error, RequestValidationError):
        return errors.invalid(blamed(error.errors(), error.body))
    if isinstance(error, HTTPException) and error.status_code in _FRAMEWORK:
        return _FRAMEWORK[error.status_code](headers=error.headers)
    return errors.InternalError()


_FRAMEWORK: Mapping[int, type[ApiError]] = {
    kind.status: kind
    for kind in (errors.BadRequestError, errors.NotFoundError, errors.MethodNotAllowedError)
}
"""What Starlette and FastAPI raise by themselves."""
