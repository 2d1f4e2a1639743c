"""What a user asks for: architecture, budget, method, dataset, training. Data, checked on entry.

One set of models serves the Python API and the REST API, so both give the same answers.
"""

import math
import numbers
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from npas import registry
from npas.spec.checked import Spec as Spec
from npas.spec.declared import LayerList
from npas.spec.ensemble import EnsembleSpec as EnsembleSpec

MAX_PARAMETERS = 1_000_000_000
"""Largest dense network that is planned, in trainable parameters."""

MAX_NETWORKS = 16
"""Most networks of one plan."""

MAX_LAYERS = 4_000
"""Most layers of all networks of one plan."""

DECLARED = "declared"
"""The name of all networks that a request declares layer by layer."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[\w.:+-]+$")]
Option = bool | int | float | Annotated[str, StringConstraints(max_length=200)]
Auto = Literal["auto"]
AUTO: Auto = "auto"
"""What is chosen for the user; of devices, the best that there is."""

FIRST_DEFAULT = "superweights"
"""The method of a request that named none, in the first release; today's is in `PlanRequest`."""


def pointer(*parts: object) -> str:
    """Return the JSON pointer (RFC 6901) made of these keys and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _named(value: Any) -> Any:
    """Let a plain string stand for {"name": string}."""
    return {"name": value} if isinstance(value, str) else value


class ArchitectureSpec(Spec):
    """A network as data. A plain string is its name with all defaults.

    Sizes that are left out come from the dataset in a job, else from the family's default.
    """

    name: Name = Field(description="wrn-28-10, resnet-56, torchvision:resnet50, ...")
    num_classes: int | None = Field(None, ge=2, le=100_000)
    input_channels: int | None = Field(None, ge=1, le=64)
    input_size: int | None = Field(
        None, ge=4, le=1024, description="height = width, pixels; of text, the most tokens"
    )
    options: dict[Name, Option] = Field(
        default_factory=dict, max_length=16, description="keyword options of the family"
    )
    layers: LayerList | None = Field(None, description="of a network named declared, and no other")

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "string"}
    _shorthand = model_validator(mode="before")(_named)

    @model_validator(mode="after")
    def _layers_where_declared(self) -> Self:
        if (self.name == DECLARED) != (self.layers is not None):
            raise ValueError(f"give layers for the name {DECLARED!r}, and for no other")
        return self


class NetworkSpec(Spec):
    """One network of a job, under a name of its own."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,40}$")]
    architecture: ArchitectureSpec


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


class MethodSpec(Spec):
    """A sharing method with its options. A plain string is the name with all defaults."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: Name

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "string"}
    _shorthand = model_validator(mode="before")(_named)

    @field_validator("name")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return registry.canonical(value)

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name; the method itself checks it."""
        return dict(self.model_extra or {})


class ImageOptions(Spec):
    """How images of all sizes and kinds become those of a dataset."""

    image_size: int | None = Field(
        None, ge=4, le=1024, description="height = width, pixels; left out: chosen from the images"
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="the square in the middle, black bars around, or another shape"
    )
    channels: Literal[1, 3, "auto"] = Field(
        "auto", description="grey or colour; auto: grey where all images are"
    )
    split_seed: int = Field(0, ge=0, lt=2**31, description="of splits that are made")
    drop_duplicates: bool = Field(
        False, description="train on no image that is there twice, or in another split too"
    )


class DatasetSpec(ImageOptions):
    """A dataset by name, optionally only its first images. A plain string is the name."""

    name: Name = Field(
        description="digits, mnist, cifar10, shortest-path:1, npz:NAME, images:NAME, ..."
    )
    train_images: int | None = Field(None, ge=10, description="use only so many, the first ones")
    test_images: int | None = Field(None, ge=1)

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "string"}
    _shorthand = model_validator(mode="before")(_named)

    @field_validator("name")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return value if ":" in value else value.replace("_", "-")


class DistillationSpec(Spec):
    """Learning from a teacher beside the labels. A plain string is the teacher, all else default.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015: (1 - weight) times
    the loss of the labels, plus weight times temperature squared times KL(teacher || network),
    both at that temperature.
    """

    teacher: Annotated[
        str,
        StringConstraints(pattern=r"^(dense|checkpoint:[A-Za-z0-9][A-Za-z0-9_-]{0,63})$"),
    ] = Field(
        "dense",
        description="dense: the same networks without sharing, trained first with the same "
        "options; checkpoint:NAME: NAME.safetensors in the data folder",
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


Seed = Annotated[int, Field(ge=0, lt=2**31)]
TimeLimit = Annotated[float, Field(gt=0, le=366 * 86_400)]
CorruptedImages = Annotated[int, Field(ge=0, le=10_000)]

LABEL_KEY = re.compile(r"^[\w./-]{1,64}$")
MAX_LABELS = 16
MAX_LABEL_LENGTH = 512


def _with_checked_keys(labels: dict[str, str]) -> dict[str, str]:
    for key in labels:
        if not LABEL_KEY.fullmatch(key):
            raise ValueError(f"label key {key!r}: 1 to 64 letters, digits and . _ / - only")
    return labels


Labels = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=MAX_LABEL_LENGTH)]],
    Field(max_length=MAX_LABELS),
    AfterValidator(_with_checked_keys),
]
"""What people call a job, by key."""


Priority = Annotated[int, Field(ge=-100, le=100)]
"""Jobs of a higher one are taken first."""


Unshared = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...],
    Field(max_length=64),
]
"""Kinds ("depthwise"), roles ("stem"), or names with * ("stages.0.*", "network/name")."""


class PlanRequest(Spec):
    """What a plan needs: networks, budget, method. The dataset only sets sizes left open."""

    architecture: ArchitectureSpec | None = None
    networks: tuple[NetworkSpec, ...] | None = Field(
        None, min_length=1, max_length=MAX_NETWORKS, strict=False
    )
    budget: BudgetSpec
    method: MethodSpec = Field(default_factory=lambda: MethodSpec(name="block_mix"))
    dataset: DatasetSpec | None = None
    unshared: Unshared = Field(
        (),
        strict=False,
        description="layers that keep their own weights: kinds, roles, or patterns of names",
    )
    share_embeddings: bool = Field(False, description="whether embeddings may share, too")

    @model_validator(mode="after")
    def _one_kind_of_network(self) -> Self:
        if (self.architecture is None) == (self.networks is None):
            raise ValueError("give exactly one of architecture and networks")
        names = [network.name for network in self.networks or ()]
        if len(set(names)) < len(names):
            raise ValueError("two networks have the same name")
        return self

    def members(self) -> tuple[NetworkSpec, ...]:
        """Return the networks; a lone architecture is called "main"."""
        if self.networks is not None:
            return self.networks
        assert self.architecture is not None
        return (NetworkSpec(name="main", architecture=self.architecture),)


class StartSpec(Spec):
    """What the networks begin with in place of random weights; or whose banks they join."""

    checkpoint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of a model file that a job delivered, of networks of the same layers"
    )
    join: bool = Field(
        False,
        description="the job's networks are new ones beside those of the file, whose templates "
        "they read; the budget is what they may add",
    )
    frozen: bool = Field(
        True,
        description="of join: the file's networks stay as they are, to the bit; else all learn",
    )

    @model_validator(mode="after")
    def _frozen_where_joined(self) -> Self:
        if not self.join and not self.frozen:
            raise ValueError("frozen is for networks that join: give join, or leave frozen out")
        return self


class JobSpec(PlanRequest):
    """A whole job: plan it, train it, deliver one file."""

    dataset: DatasetSpec
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    seed: Seed = 0
    time_limit: TimeLimit | None = Field(
        None,
        description="seconds, over all attempts, after which the best network so far is "
        "delivered; left out: as long as it takes",
    )
    start: StartSpec | None = Field(
        None, description="weights to begin with; where they are of this very plan, it is kept"
    )
    corrupted_images: CorruptedImages | Auto = Field(
        "auto",
        description="test images that several networks are graded on in 75 corrupted ways too; "
        "auto: as many as cost a tenth of the training, 1000 at most",
    )
    labels: Labels = Field(default_factory=dict)
    priority: Priority = Field(
        0, description="jobs of a higher one are taken first; no say in what is trained"
    )
