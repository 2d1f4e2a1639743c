"""Reads a request's body: how large, which type, strict JSON, then the model.

Strict means: what two parsers could read differently, and what Postgres or UTF-8 cannot hold, is
refused with the pointer of the value, before anything else looks at it.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi.concurrency import run_in_threadpool
from npas import spec
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from npas_api import errors
from npas_api.errors import FieldError
from npas_api.validation import MAX_ERRORS, blamed

JSON = ("application/json",)
MERGE_PATCH = ("application/merge-patch+json", "application/json")
"""What a body is that says only what is to be otherwise (RFC 7396)."""
MAX_BYTES = 1024 * 1024
SMALL_BYTES = 4096
"""Are read at once: it takes less than a change of threads."""
MAX_DEPTH = 32
"""Nested arrays and objects; a job needs five."""
MAX_VALUES = 20_000
"""Values and keys in all; a job of sixteen networks needs some hundreds."""
MAX_COMPLAINTS = 10_000
"""Pydantic lists all or none, and no other thread runs meanwhile."""

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in the parsed document for a value that JSON allows to write and we do not."""

    code: str
    message: str


def body(model: type[Model], types: Sequence[str] = JSON) -> Callable[[Request], Awaitable[Model]]:
    """Return a dependency that gives the request's body as a checked model.

    Args:
        model: that it must be one of.
        types: media types that it may have.
    """

    async def read(request: Request) -> Model:
        content = await _bytes(request, types)
        if len(content) <= SMALL_BYTES:
            return _read(model, content)
        # In a thread: a large body takes a while, and others wait for the event loop.
        return await run_in_threadpool(_read, model, content)

    return read


async def merge_patch(request: Request) -> dict[str, Any]:
    """Return the request's body as a JSON merge patch; none at all changes nothing.

    A dependency.

    Raises:
        InvalidRequestError: it is no object.
    """
    if not request.headers.get("content-type"):
        nothing = await _bytes(request, ("",))
        if not nothing.strip():
            return {}
    document = await run_in_threadpool(parse, await _bytes(request, MERGE_PATCH))
    if not isinstance(document, dict):
        told = "a merge patch of a job is an object with the members that are to be otherwise"
        raise errors.invalid([FieldError(pointer="", code="dict_type", message=told)])
    return document


def merged(target: Any, patch: Any) -> Any:
    """Return a JSON value with a merge patch applied, as RFC 7396 has it."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def _read(model: type[Model], content: bytes) -> Model:
    return checked(model, parse(content))


def checked(model: type[Model], document: Any) -> Model:
    """Return the model that a JSON value makes.

    Raises:
        InvalidRequestError: it makes none; the pointers are into the document.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        if (count := error.error_count()) > MAX_COMPLAINTS:
            message = f"{count:,} things are wrong; see /openapi.json for what a request holds"
            whole = FieldError(pointer="", code="too_many_errors", message=message)
            raise errors.invalid([whole]) from None
        complaints = error.errors(include_url=False)
        located = ({**c, "loc": ("body", *c["loc"])} for c in complaints)
        raise errors.invalid(blamed(located, document)) from None


async def _bytes(request: Request, types: Sequence[str]) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in types:
        raise errors.UnsupportedMediaTypeError(
            f"the body is {kind or 'of no type'}; send JSON with Content-Type: {types[0]}",
            errors=[
                FieldError(
                    pointer="/content-type",
                    code="unsupported_media_type",
                    message=f"must be {' or '.join(types)}",
                    place="header",
                )
            ],
            headers={"Accept": ", ".join(types)},
        )
    # Counted as it arrives: Content-Length can be absent, or wrong.
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BYTES:
            message = f"at most {MAX_BYTES:,} bytes are allowed"
            whole = FieldError(pointer="", code="body_too_large", message=message)
            raise errors.BodyTooLargeError(f"the body is too large: {message}", errors=[whole])
    return bytes(content)


def parse(content: bytes) -> Any:
    """Return the JSON value that the bytes are.

    Raises:
        InvalidJsonError: not UTF-8, or not JSON.
        InvalidRequestError: JSON that is refused: repeated keys, NaN, numbers beyond 64 bits,
            NUL and unpaired surrogates, too much nesting.
    """
    try:
        document = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_int,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise _not_json(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _not_json(f"the body is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise errors.invalid([_too_deep("")]) from None
    refused = [error for error, _ in zip(_refused(document), range(MAX_ERRORS), strict=False)]
    if refused:
        raise errors.invalid(refused)
    return document


def _not_json(message: str) -> errors.InvalidJsonError:
    whole = FieldError(pointer="", code="invalid_json", message=message)
    return errors.InvalidJsonError(message, errors=[whole])


def _too_deep(pointer: str) -> FieldError:
    return FieldError(
        pointer=pointer, code="too_deep", message=f"nested deeper than {MAX_DEPTH} levels"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        is_new = key not in members
        members[key] = value if is_new else _Refused("duplicate_key", "the key is given twice")
    return members


def _int(digits: str) -> int | _Refused:
    # The length first: turning a million digits into an integer takes seconds.
    if len(digits) <= 20 and -(2**63) <= int(digits) < 2**63:
        return int(digits)
    return _Refused("number_too_large", "the number does not fit 64 bits")


def _float(text: str) -> float | _Refused:
    value = float(text)
    if abs(value) == float("inf"):
        return _Refused("number_too_large", "the number does not fit 64 bits")
    return value


def _constant(name: str) -> _Refused:
    return _Refused("not_a_number", f"{name} is not a JSON number")


def _refused(document: Any) -> Iterator[FieldError]:
    """Yield what is refused, walking without recursion, the first in the text first."""
    todo: list[tuple[tuple[object, ...], Any]] = [((), document)]
    for _ in range(MAX_VALUES):
        if not todo:
            return
        path, value = todo.pop()
        if isinstance(value, _Refused):
            yield FieldError(pointer=spec.pointer(*path), code=value.code, message=value.message)
        elif isinstance(value, str):
            yield from _refused_text(path, value, "the text")
        elif isinstance(value, dict | list):
            if len(path) >= MAX_DEPTH:
                yield _too_deep(spec.pointer(*path))
                continue
            items = list(value.items() if isinstance(value, dict) else enumerate(value))
            for key, _ in items:
                if isinstance(key, str):
                    yield from _refused_text((*path, key), key, "the key")
            todo.extend(((*path, key), item) for key, item in reversed(items))
    if todo:
        message = f"more than {MAX_VALUES:,} values"
        first = spec.pointer(*todo[-1][0])
        yield FieldError(pointer=first, code="too_many_values", message=message)


def _refused_text(path: tuple[object, ...], text: str, what: str) -> Iterator[FieldError]:
    if found := _NOT_STORABLE.search(text):
        shown = f"U+{ord(found.group()):04X}"
        message = f"{what} holds {shown}; NUL and unpaired surrogates are not text"
        yield FieldError(pointer=spec.pointer(*path), code="invalid_text", message=message)
