"""How much the trained networks may hold."""

import math
import numbers
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from npas.spec.checked import Spec
from npas.spec.limits import MAX_PARAMETERS


def _plain_number(value: Any) -> Any:
    """Return a number of another library, such as NumPy's, as Python's own; all else as it is."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


class BudgetSpec(Spec):
    """A hard upper limit on trainable parameters. A plain integer is {"parameters": n}."""

    parameters: int | None = Field(None, ge=1, le=10 * MAX_PARAMETERS)
    fraction: float | None = Field(None, gt=0, le=10, description="of the dense size")

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
        if (self.parameters is None) == (self.fraction is None):
            raise ValueError("give exactly one of parameters and fraction")
        return self

    def resolve(self, dense_parameters: int) -> int:
        """Return the budget in parameters for a dense size in parameters, rounded down."""
        if self.parameters is not None:
            return self.parameters
        return math.floor(Fraction(str(self.fraction)) * dense_parameters)
