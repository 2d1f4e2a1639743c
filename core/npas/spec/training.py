"""How networks are trained."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from npas.spec.checked import Spec
from npas.spec.ensemble import EnsembleSpec
from npas.spec.limits import Auto


class DistillationSpec(Spec):
    """Learning from a teacher beside the labels. A plain string is the teacher, all else default.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015: (1 - weight) times
    the loss of the labels, plus weight times temperature squared times KL(teacher || network),
    both at that temperature.
    """

    teacher: Annotated[
        str,
        StringConstraints(pattern=r"^(dense|start|checkpoint:[A-Za-z0-9][A-Za-z0-9_-]{0,63})$"),
    ] = Field(
        "dense",
        description="dense: the same networks without sharing, trained first with the same "
        "options; start: the networks of the file that the job starts from, as they are there; "
        "checkpoint:NAME: NAME.safetensors in the data folder",
    )
    temperature: float = Field(4.0, gt=0, le=100, description="divides the logits")
    weight: float = Field(0.9, ge=0, le=1, description="of the teacher; the labels get the rest")

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "string"}

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"teacher": value} if isinstance(value, str) else value


class TrainingSpec(Spec):
    """How to train. The defaults are those of the founding papers for CIFAR."""

    epochs: int = Field(200, ge=1, le=10_000)
    batch_size: int = Field(128, ge=2, le=65_536, description="images per optimiser step")
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = Field(
        0.1, gt=0, le=100, description="left out: 0.1 for sgd, 0.001 for adam and adamw"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; beta 1 of adam and adamw")
    nesterov: bool = Field(True, description="sgd only")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="never on coefficients")
    norm_decay: bool = Field(True, description="decay norms and biases too, as the papers do")
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(max_length=20)
    ] = Field(
        (0.3, 0.6, 0.8), strict=False, description="step: where the rate drops, of all epochs"
    )
    gamma: float = Field(0.2, gt=0, le=1, description="step: factor at each milestone")
    warmup_epochs: float = Field(0.0, ge=0, le=1000)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    crop_padding: int | Auto = Field(
        "auto", description="pixels, random shift; auto: the dataset's"
    )
    flip: bool | Auto = Field("auto", description="random left-right; auto: the dataset's")
    cutout: int = Field(0, ge=0, le=512, description="side of the erased square, pixels")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    validation_fraction: float = Field(
        0.1, ge=0, le=0.5, description="held out of the training images to choose the best epoch"
    )
    keep: Literal["best", "last"] = Field("best", description="which epoch's weights to deliver")
    balance: Literal["none", "weights"] = Field(
        "none", description="weights: each class has the same say in the loss, however few images"
    )
    distillation: DistillationSpec | None = Field(
        None, description="learn from a teacher's answers too, in the search as well"
    )
    ensemble: EnsembleSpec = Field(
        default_factory=EnsembleSpec, description="how several networks are trained together"
    )

    @model_validator(mode="before")
    @classmethod
    def _rate_for_the_optimizer(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("optimizer") in ("adam", "adamw"):
            return {"learning_rate": 0.001} | value
        return value

    @field_validator("crop_padding")
    @classmethod
    def _padding_range(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 0 <= value <= 64:
            raise ValueError("crop_padding must be from 0 to 64, or auto")
        return value

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        return self
