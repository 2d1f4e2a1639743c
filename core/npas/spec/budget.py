"""How much the trained networks may hold."""

import math
import numbers
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from npas.errors import InvalidSpecError
from npas.spec.boards import file_bytes
from npas.spec.checked import Spec
from npas.spec.limits import MAX_PARAMETERS, Name


def _plain_number(value: Any) -> Any:
    """Return a number of another library, such as NumPy's, as Python's own; all else as it is."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


MAX_BYTES = 40 * MAX_PARAMETERS
"""Of a file: that of the largest network in plain numbers."""


class BudgetSpec(Spec):
    """A hard upper limit, on trainable parameters or on the bytes of the delivered file.

    A plain integer is {"parameters": n}.
    """

    parameters: int | None = Field(None, ge=1, le=10 * MAX_PARAMETERS)
    fraction: float | None = Field(None, gt=0, le=10, description="of the dense size")
    bytes: int | None = Field(
        None, ge=1, le=MAX_BYTES, description="of the delivered file, all of it counted"
    )
    device: Name | None = Field(
        None, description="a board, such as nano-33-ble: the bytes that its flash has for a file"
    )

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "integer", "minimum": 1}

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        plain = _plain_number(value)
        if isinstance(value, Mapping):
            return {name: _plain_number(number) for name, number in value.items()}
        is_count = isinstance(plain, int) and not isinstance(plain, bool)
        return {"parameters": plain} if is_count else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of parameters, fraction, bytes and device")
        if self.device is not None:
            file_bytes(self.device)
        return self

    @property
    def file_bytes(self) -> int | None:
        """The most bytes of the file; None: it counts parameters."""
        return self.bytes if self.device is None else file_bytes(self.device)

    @property
    def told(self) -> str:
        """The budget in words."""
        if self.parameters is not None:
            return f"{self.parameters:,} parameters"
        if self.fraction is not None:
            return f"{self.fraction:g} of the dense size"
        board = f" ({self.device})" if self.device else ""
        return f"{self.file_bytes:,} bytes{board}"

    def resolve(self, dense_parameters: int) -> int:
        """Return the budget in parameters for a dense size in parameters, rounded down.

        Raises:
            InvalidSpecError: it counts bytes, of which only a plan knows what they hold; see
                `npas.planning.file_budget`.
        """
        if self.file_bytes is not None:
            raise InvalidSpecError(
                "this budget counts bytes of a file: give parameters or fraction", field="/budget"
            )
        if self.parameters is not None:
            return self.parameters
        return math.floor(Fraction(str(self.fraction)) * dense_parameters)
