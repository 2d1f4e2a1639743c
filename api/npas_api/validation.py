"""From pydantic's complaints to the fields of the request that are to blame."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from npas import spec
from npas.spec import validation

from npas_api.errors import FieldError, Place

MAX_ERRORS = 20
"""More are not helpful, and an answer must stay small whatever was asked."""

_MAX_SHOWN = 80
_EACH = "Input should be a valid "
_PLACES: Mapping[str, Place] = {"body": "body", "query": "query", "header": "header"}


def blamed(errors: Iterable[Mapping[str, Any]], document: Any) -> list[FieldError]:
    """Return one error per field, in the order of the complaints, the first `MAX_ERRORS`.

    Pydantic complains once per member of a union, and puts the member's name into the location.
    Walking the document tells those names from the keys that the client wrote.

    Args:
        errors: `ValidationError.errors()`, locations starting with body, query or header.
        document: the parsed body.
    """
    found: dict[tuple[Place, str], list[tuple[str, str]]] = {}
    shown: dict[tuple[Place, str], str] = {}
    for complaint in errors:
        if _is_consequence(complaint):
            continue
        place, *location = complaint["loc"]
        missing = complaint["type"] == "missing"
        if place == "body":
            pointer = validation.pointer_into(document, location, missing=missing)
        else:
            pointer = spec.pointer(*location[:1])
        key = (_PLACES.get(str(place), "query"), pointer)
        if key not in found and len(found) == MAX_ERRORS:
            break  # there may be thousands, and each takes a while to tell
        message = validation.told(complaint)
        if complaint["type"] == "extra_forbidden":
            message += "; see /openapi.json"
        found.setdefault(key, []).append((complaint["type"], message))
        if not missing:
            shown.setdefault(key, show(complaint["input"]))
    return [
        FieldError(
            pointer=pointer,
            code=told[0][0],
            message=_told(dict.fromkeys(m for _, m in told), shown.get((place, pointer))),
            place=place,
        )
        for (place, pointer), told in found.items()
    ]


def show(value: Any) -> str:
    """Return a refused value as short JSON, for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def _told(messages: Iterable[str], shown: str | None) -> str:
    first, *more = messages
    told = " or ".join([first, *(message.removeprefix(_EACH) for message in more)])
    return told if shown is None else f"{told}; given: {shown}"


def _is_consequence(complaint: Mapping[str, Any]) -> bool:
    """Tell whether a list is called too short only because its items were refused."""
    if complaint["type"] != "too_short" or not isinstance(complaint["input"], list):
        return False
    return len(complaint["input"]) >= int(complaint["ctx"]["min_length"])
