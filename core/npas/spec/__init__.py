"""What a user asks for: architecture, budget, method, dataset, training. Data, checked on entry.

One set of models serves the Python API and the REST API, so both give the same answers.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from npas import registry
from npas.spec.architecture import DECLARED as DECLARED
from npas.spec.architecture import DECLARED_GRAPH as DECLARED_GRAPH
from npas.spec.architecture import ArchitectureSpec as ArchitectureSpec
from npas.spec.architecture import NetworkSpec as NetworkSpec
from npas.spec.averaging import AveragingSpec as AveragingSpec
from npas.spec.budget import BudgetSpec as BudgetSpec
from npas.spec.checked import Spec as Spec
from npas.spec.dataset import DatasetSpec as DatasetSpec
from npas.spec.dataset import ImageOptions as ImageOptions
from npas.spec.ensemble import EnsembleSpec as EnsembleSpec
from npas.spec.limits import AUTO as AUTO
from npas.spec.limits import MAX_LAYERS as MAX_LAYERS
from npas.spec.limits import MAX_NETWORKS as MAX_NETWORKS
from npas.spec.limits import MAX_PARAMETERS as MAX_PARAMETERS
from npas.spec.limits import Auto as Auto
from npas.spec.limits import Name as Name
from npas.spec.limits import Option as Option
from npas.spec.limits import named
from npas.spec.module import OWN as OWN
from npas.spec.module import ModuleLayer as ModuleLayer
from npas.spec.module import ModuleSpec as ModuleSpec
from npas.spec.module import ModuleTensor as ModuleTensor
from npas.spec.module import Role as Role
from npas.spec.search import LimitsSpec as LimitsSpec
from npas.spec.search import SearchSpec as SearchSpec
from npas.spec.start import StartSpec as StartSpec
from npas.spec.training import DistillationSpec as DistillationSpec
from npas.spec.training import TrainingSpec as TrainingSpec

FIRST_DEFAULT = "superweights"
"""The method of a request that named none, in the first release; today's is in `PlanRequest`."""


def pointer(*parts: object) -> str:
    """Return the JSON pointer (RFC 6901) made of these keys and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class MethodSpec(Spec):
    """A sharing method with its options. A plain string is the name with all defaults."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: Name

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "string"}
    _shorthand = model_validator(mode="before")(named)

    @field_validator("name")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return registry.canonical(value)

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name; the method itself checks it."""
        return dict(self.model_extra or {})


Seed = Annotated[int, Field(ge=0, lt=2**31)]
TimeLimit = Annotated[float, Field(gt=0, le=366 * 86_400)]
CorruptedImages = Annotated[int, Field(ge=0, le=10_000)]
Explain = Annotated[float, Field(ge=0, le=10)]

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
    search: SearchSpec | None = Field(
        None, description="what is searched beside who shares what; left out: nothing"
    )
    limits: LimitsSpec | None = Field(
        None, description="what a network that the search offers may take to run"
    )

    @model_validator(mode="after")
    def _one_kind_of_network(self) -> Self:
        if (self.architecture is None) == (self.networks is None):
            raise ValueError("give exactly one of architecture and networks")
        names = [network.name for network in self.networks or ()]
        if len(set(names)) < len(names):
            raise ValueError("two networks have the same name")
        if any(network.architecture.module is not None for network in self.members()):
            raise ValueError(
                "a request cannot hold a module's code: write the module as data with "
                "npas.declare(module, example)"
            )
        return self

    @model_validator(mode="after")
    def _limits_of_a_search(self) -> Self:
        if self.limits is not None and self.size_limits is None:
            raise ValueError(
                'limits are of the sizes that a search offers: give search {"scale": true} too, '
                "or leave limits out"
            )
        return self

    @property
    def size_limits(self) -> LimitsSpec | None:
        """What bounds the sizes that are offered; None: no other than the one asked for."""
        if self.search is None or not self.search.scale:
            return None
        return self.limits or LimitsSpec()

    def members(self) -> tuple[NetworkSpec, ...]:
        """Return the networks; a lone architecture is called "main"."""
        if self.networks is not None:
            return self.networks
        assert self.architecture is not None
        return (NetworkSpec(name="main", architecture=self.architecture),)


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
    explain: Explain = Field(
        0.05,
        description="what sharing costs each layer is measured for as long as this part of the "
        "training's steps takes; 0: it is not measured",
    )
    labels: Labels = Field(default_factory=dict)
    priority: Priority = Field(
        0, description="jobs of a higher one are taken first; no say in what is trained"
    )
