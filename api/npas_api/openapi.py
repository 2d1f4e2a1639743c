"""What FastAPI cannot know of the interface: bodies that we read ourselves, and problems."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, WithJsonSchema
from pydantic.json_schema import models_json_schema

from npas_api import errors, problems

_REF = "#/components/schemas/{model}"
_OUR_REF = "x-npas-model"
EXAMPLE = {
    "architecture": "wrn-16-2",
    "budget": {"fraction": 0.25},
    "method": "block_mix",
    "dataset": "digits",
    "training": {"epochs": 20, "schedule": "cosine"},
    "labels": {"team": "vision"},
    "priority": 0,
}
"""A job, small enough to try."""
SWEEP_EXAMPLE = {
    "architectures": ["wrn-16-2"],
    "budgets": [{"fraction": 0.1}, {"fraction": 0.25}, {"fraction": 0.5}],
    "methods": ["block_mix", "narrow"],
    "seeds": [0, 1],
    "dataset": "digits",
    "training": {"epochs": 20, "schedule": "cosine"},
    "infeasible": "leave_out",
}
"""A sweep of fourteen such jobs."""

Responses = dict[int | str, dict[str, Any]]


def problems_of(*kinds: type[errors.ApiError]) -> Responses:
    """Return the `responses` of a route that refuses in these ways, and in the usual ones."""
    refusals: list[type[errors.ApiError]]
    refusals = [*kinds, errors.InternalError, errors.DatabaseUnavailableError]
    by_status: dict[int, list[str]] = {}
    for kind in refusals:
        by_status.setdefault(kind.status, []).append(
            f"`{errors.code(kind)}` {errors.title(kind)}."
        )
    return {
        status: {
            "description": " ".join(told),
            "content": {problems.MEDIA_TYPE: {"schema": schema_of(problems.Problem)}},
        }
        for status, told in sorted(by_status.items())
    }


def request_body(
    model: type[BaseModel],
    *,
    example: Mapping[str, Any],
    types: Sequence[str] = ("application/json",),
) -> dict[str, Any]:
    """Return the `openapi_extra` of a route whose body is read by `request_body.body(model)`.

    Args:
        model: one of those that `complete` is given.
        example: a body.
        types: media types that it may have.
    """
    content = {kind: {"schema": schema_of(model), "example": dict(example)} for kind in types}
    return {"requestBody": {"required": True, "content": content}}


def described_by(model: type[BaseModel]) -> Any:
    """Return an annotation by which the schema of a plain JSON field is that of a model.

    The answer is sent as it lies in the store: no release rewrites what another one stored.

    Args:
        model: one of those that `complete` is given.
    """
    return WithJsonSchema({"allOf": [{_OUR_REF: model.__name__}]})


def complete(app: FastAPI, *, models: Sequence[type[BaseModel]]) -> None:
    """Complete the application's OpenAPI document.

    Args:
        models: those that `request_body` and `described_by` were given.
    """

    @functools.cache
    def document() -> dict[str, Any]:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        described: list[type[BaseModel]] = [*models, problems.Problem]
        _, schemas = models_json_schema(
            [(model, "validation") for model in described], ref_template=_REF
        )
        made["components"]["schemas"].update(schemas["$defs"])
        _resolve(made)
        _drop_unused(made)
        return made

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def _resolve(value: Any) -> None:
    """Put references in place of the names that `described_by` left: pydantic refuses its own."""
    if isinstance(value, dict):
        if name := value.pop(_OUR_REF, None):
            value["$ref"] = _REF.format(model=name)
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        _resolve(item)


def _drop_unused(document: dict[str, Any]) -> None:
    """Take out the 422 that FastAPI adds where it sees parameters: ours is another."""
    own = "HTTPValidationError"
    for path in document["paths"].values():
        for operation in path.values():
            if own in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in (own, "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """Return a reference to the schema of a model, one of those that `complete` is given."""
    return {"$ref": _REF.format(model=model.__name__)}
