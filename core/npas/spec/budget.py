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

    A plain integer is {"parameters": n}. A device without bytes gets those that it has for a file,
    so that a request means the same where its board is not known.
    """

    parameters: int | None = Field(None, ge=1, le=10 * MAX_PARAMETERS)
    fraction: float | None = Field(None, gt=0, le=10, description="of the dense size")
    bytes: int | None = Field(
        None,
        ge=1,
        le=MAX_BYTES,
        description="of the delivered file, all of it counted; beside a device: what it has",
    )
    device: Name | None = Field(
        None, description="a board, such as nano-33-ble, whose flash has room for so many bytes"
    )

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "integer", "minimum": 1}

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        plain = _plain_number(value)
        if isinstance(value, Mapping):
            found = {name: _plain_number(number) for name, number in value.items()}
            device = found.get("device")
            if isinstance(device, str) and found.get("bytes") is None:
                found["bytes"] = file_bytes(device)
            return found
        is_count = isinstance(plain, int) and not isinstance(plain, bool)
        return {"parameters": plain} if is_count else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        counts = (self.parameters, self.fraction, self.bytes)
        if sum(count is not None for count in counts) != 1:
            raise ValueError("give exactly one of parameters, fraction, bytes and device")
        return self

    @property
    def told(self) -> str:
        """The budget in words."""
        if self.parameters is not None:
            return f"{self.parameters:,} parameters"
        if self.fraction is not None:
            return f"{self.fraction:g} of the dense size"
        board = f" ({self.device})" if self.device else ""
        return f"{self.bytes:,} bytes{board}"

    def resolve(self, dense_parameters: int) -> int:
        """Return the budget in parameters for a dense size in parameters, rounded down.

        Raises:
            InvalidSpecError: it counts bytes, of which only a plan knows what they hold; see
                `npas.planning.file_budget`.
        """
        if self.bytes is not None:
            raise InvalidSpecError(
                "this budget counts bytes of a file: give parameters or fraction", field="/budget"
            )
        if self.parameters is not None:
            return self.parameters
        return math.floor(Fraction(str(self.fraction)) * dense_parameters)
