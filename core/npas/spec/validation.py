"""What pydantic complains of, in words, with the place in what the user wrote."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from npas.spec import pointer

MAX_SHOWN = 80
"""Characters of a refused value that a message repeats."""

_MESSAGES = {
    "missing": "is needed",
    "extra_forbidden": "there is no such field",
    "dict_type": "give an object",
    "tuple_type": "give a list",
}
"""Better told than by pydantic."""

FORMS = {
    "ArchitectureSpec": 'give a name, such as "wrn-16-2", or {"name": "wrn-16-2"} and its options',
    "AveragingSpec": 'give "ema", "swa", or {"kind": "ema"} and its options',
    "BudgetSpec": (
        'give a count of parameters, {"fraction": 0.25} for a part of the dense size, or '
        '{"bytes": 96000} for the size of the file, or {"device": "esp32"} for the room of a board'
    ),
    "DatasetSpec": 'give a name, such as "digits", or {"name": "digits"} and its options',
    "DistillationSpec": 'give "dense", "checkpoint:NAME", or {"teacher": "dense"} and its options',
    "EnsembleSpec": 'give an object of options, such as {"mutual": 0.5}',
    "LimitsSpec": 'give an object, such as {"macs": 50000000} or {"activation_bytes": 400000}',
    "MethodSpec": 'give a name, such as "block_mix", or {"name": "block_mix"} and its options',
    "NetworkSpec": 'give {"name": "a", "architecture": "wrn-16-2"}',
    "SearchSpec": 'give an object, such as {"scale": true}',
    "TrainingSpec": 'give an object of options, such as {"epochs": 20}',
}
"""By the name of a model: how it may be written."""

_EACH = "Input should be "


class Complaint(NamedTuple):
    """The first thing that is wrong with a value.

    Attributes:
        pointer: JSON pointer of the place, in what the user wrote.
        message: what is wrong there, and what was given.
        is_inside: whether it is a part of the value, not the whole.
    """

    pointer: str
    message: str
    is_inside: bool

    def __str__(self) -> str:
        return f"{self.pointer}: {self.message}" if self.is_inside else self.message


def first_of(error: ValidationError, document: Any, *, within: str = "") -> Complaint:
    """Return the first complaint about a value.

    Args:
        error: what pydantic says.
        document: what it says it of.
        within: JSON pointer of the value in what the user wrote, put before those into it.
    """
    first, *more = error.errors()
    inside = _place(first, document)
    also = [told(each) for each in more if _place(each, document) == inside]
    message = " or ".join(dict.fromkeys([told(first), *(m.removeprefix(_EACH) for m in also)]))
    if first["type"] != "missing" and not _is_default(first, document):
        shown = " ".join(repr(first["input"]).split())
        message += f"; given: {shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '...'}"
    return Complaint(within + inside, message, inside != "")


def _is_default(error: Mapping[str, Any], document: Any) -> bool:
    """Return whether a field is wrong because it was left out beside another."""
    return bool(error["loc"]) and isinstance(document, dict) and error["loc"][0] not in document


def _place(error: Mapping[str, Any], document: Any) -> str:
    if _is_default(error, document):
        return pointer(error["loc"][0])
    return pointer_into(document, error["loc"], missing=error["type"] == "missing")


def told(error: Mapping[str, Any]) -> str:
    """Return the message of one complaint, without the value that was given."""
    if form := FORMS.get((error.get("ctx") or {}).get("class_name", "")):
        return form
    message = _MESSAGES.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    owner, name = ("", "", *error["loc"])[-2:]
    if (error["type"], name) == ("missing", "name"):
        return "; ".join(filter(None, (message, FORMS.get(f"{owner}".capitalize() + "Spec"))))
    return message


def pointer_into(document: Any, location: Sequence[str | int], *, missing: bool) -> str:
    """Return the JSON pointer that a location of pydantic's stands for.

    Pydantic puts the members of unions into its locations. Walking the document tells those names
    from the keys and indices that the user wrote.

    Args:
        document: that the location is in.
        location: keys, indices and names of members of unions.
        missing: whether the last part is a key that should be there.
    """
    parts: list[object] = []
    for depth, part in enumerate(location):
        is_key = isinstance(document, dict) and part in document
        is_index = (
            isinstance(document, list | tuple) and isinstance(part, int) and part < len(document)
        )
        if is_key or is_index:
            parts.append(part)
            document = document[part]
        elif missing and depth == len(location) - 1:
            parts.append(part)
    return pointer(*parts)
