"""What a trainer was made with."""

from dataclasses import dataclass

import torch

from npas.spec import TrainingSpec
from npas.train.adjustments import Adjustments
from npas.train.averaging import Average
from npas.train.finite import Finiteness
from npas.train.rounding import Rounding


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerSetting:
    """What a training does not change.

    Attributes:
        spec: how to train.
        seed: of everything random.
        stage: goes into the rows and into what is random.
        device: where the model is.
        adjustments: what is done otherwise than the spec says.
        rounding: of the weights, which has a memory of its own; None: there is none.
        average: of the weights, likewise.
        finiteness: of the weights.
    """

    spec: TrainingSpec
    seed: int
    stage: str
    device: torch.device
    adjustments: Adjustments
    rounding: Rounding | None
    average: Average | None
    finiteness: Finiteness
