"""How networks are trained."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from npas.spec.averaging import AveragingSpec
from npas.spec.checked import Spec
from npas.spec.ensemble import EnsembleSpec
from npas.spec.limits import Auto
from npas.spec.presets import filled

_OF_OPTIMIZER: Mapping[str, Mapping[str, Any]] = {
    "adam": {"learning_rate": 0.001},
    "adamw": {"learning_rate": 0.001},
    "muon": {"learning_rate": 0.001, "momentum": 0.95},
}
"""Defaults that an optimiser has of its own."""


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

    recipe: Literal["best"] | None = Field(
        None,
        description="best: fields that are left out get values that train well, other ones for "
        "short trainings than for long ones; the fields are shown as they count",
    )
    epochs: int = Field(200, ge=1, le=10_000)
    batch_size: int = Field(128, ge=2, le=65_536, description="images per optimiser step")
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = Field(
        "sgd",
        description="muon: Muon for templates and weights that are matrices, AdamW for all else",
    )
    learning_rate: float = Field(
        0.1, gt=0, le=100, description="left out: 0.1 for sgd, 0.001 for all others"
    )
    bank_rate: float = Field(
        1.0,
        gt=0,
        le=100,
        description="learning rate of the banks' templates, as a multiple of learning_rate",
    )
    momentum: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="of sgd and muon; beta 1 of adam and adamw; left out: 0.95 for muon, else 0.9",
    )
    nesterov: bool = Field(True, description="sgd and muon only")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="never on coefficients")
    norm_decay: bool = Field(True, description="decay norms and biases too, as the papers do")
    clip_norm: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="the gradient of all parameters together is made no longer than this; null: "
        "it stays as it is",
    )
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(max_length=20)
    ] = Field(
        (0.3, 0.6, 0.8), strict=False, description="step: where the rate drops, of all epochs"
    )
    gamma: float = Field(0.2, gt=0, le=1, description="step: factor at each milestone")
    warmup_epochs: float = Field(0.0, ge=0, le=1000)
    average: AveragingSpec | None = Field(
        None, description="deliver weights that are averaged over the steps; null: the last ones"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    crop_padding: int | Auto = Field(
        "auto", description="pixels, random shift; auto: the dataset's"
    )
    flip: bool | Auto = Field("auto", description="random left-right; auto: the dataset's")
    augment: Literal["none", "trivial", "rand"] = Field(
        "none",
        description="trivial: TrivialAugment (wide), one random change of each image; rand: "
        "RandAugment, two of magnitude 9 of 30",
    )
    cutout: int = Field(0, ge=0, le=512, description="side of the erased square, pixels")
    random_erasing: float = Field(
        0.0, ge=0, le=1, description="probability that a random rectangle of an image is erased"
    )
    mixup: float = Field(
        0.0, ge=0, le=100, description="alpha: images are mixed by a Beta(alpha, alpha); 0: not"
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        le=100,
        description="alpha: a rectangle of another image, its area by a Beta(alpha, alpha); 0: "
        "none; with mixup too, a coin says for each batch which of them",
    )
    test_size: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="height and width at which images are tested and validated, pixels, more than "
        "the network is trained at; null: the same",
    )
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
    def _filled_in(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        fields = cls.model_fields
        whole = filled(
            value, epochs=fields["epochs"].default, optimizer=fields["optimizer"].default
        )
        optimizer = whole.get("optimizer")
        own = _OF_OPTIMIZER.get(optimizer, {}) if isinstance(optimizer, str) else {}
        return {**own, **whole}

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
