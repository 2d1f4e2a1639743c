"""What every refusal of a request is made of; `errors` lists them all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

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


def code(error: type[Exception]) -> str:
    """Return the wire code of an error: InfeasibleBudgetError is "infeasible_budget"."""
    name = error.__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def title(error: type[ApiError]) -> str:
    """Return the first line of the error's docstring without its period."""
    assert error.__doc__ is not None
    return error.__doc__.splitlines()[0].rstrip(".")
