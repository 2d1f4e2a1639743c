"""Averaged weights: what is delivered is a mean over many steps, not what the last one left."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from npas.spec.checked import Spec

_STARTS = {"ema": 0.0, "swa": 0.75}


class AveragingSpec(Spec):
    """Averaging of the weights over steps. A plain string is the kind, all else default.

    Validation, the choice of the best epoch and the delivered file are of the average; epochs
    before it begins do not count as the best.

    Source of swa: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018, where all that is averaged counts alike. Difference: weights are
    taken in after every step, not once in an epoch, and the learning rate goes on as asked.
    Source of ema: Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging",
    1992, with weights that fall from step to step; see `npas.train.averaging`.
    """

    kind: Literal["ema", "swa"]
    decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="of ema: what stays of the average in a step; left out: from the number of "
        "steps",
    )
    start: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="part of the epochs before the average begins; left out: 0 of ema, 0.75 of "
        "swa",
    )

    shorthand: ClassVar[Mapping[str, Any]] = {"enum": ["ema", "swa"]}

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        given = {"kind": value} if isinstance(value, str) else value
        kind = given.get("kind") if isinstance(given, dict) else None
        if not isinstance(kind, str) or kind not in _STARTS:
            return given
        return {"start": _STARTS[kind]} | given

    @model_validator(mode="after")
    def _decay_of_ema(self) -> Self:
        if self.kind == "swa" and self.decay is not None:
            raise ValueError('decay is of "ema"; in "swa" all steps count alike: leave it out')
        return self
