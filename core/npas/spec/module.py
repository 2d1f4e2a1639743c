"""A module of the user's own as data: its layers and tensors, without any of its code."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from npas.spec.checked import Spec
from npas.spec.limits import MAX_LAYERS

OWN = "own"
"""The name of all networks that are given as modules."""

Role = Literal["stem", "body", "transition", "shortcut", "classifier"]
"""The stem reads the input, a transition changes the width, a classifier writes the logits."""

Path = Annotated[str, StringConstraints(min_length=1, max_length=500)]
"""The name of a tensor, with dots, as the module's `state_dict` has it."""

_MAX_TENSORS = 50_000


def _is_empty(value: Any) -> bool:
    return not value


class ModuleLayer(Spec):
    """One weight that may be generated; its shape is that of the tensor of its name."""

    name: Path
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
    role: Role
    stage: Annotated[str, StringConstraints(max_length=500)]
    deviation: float | None = Field(
        None, gt=0, le=1e6, exclude_if=lambda value: value is None, description="of its numbers"
    )


class ModuleTensor(Spec):
    """One tensor that a file of the module holds, once, whatever names it has."""

    name: Path
    shape: Annotated[
        tuple[Annotated[int, Field(ge=0, le=2**40)], ...], Field(max_length=16, strict=False)
    ]
    dtype: Annotated[
        str, StringConstraints(pattern=r"^(bool|u?int\d{1,2}|b?float\d{1,2}(_[a-z0-9]{1,9})?)$")
    ]
    kind: Literal["trained", "frozen", "buffer"] = "trained"
    ties: Annotated[
        tuple[Path, ...], Field(max_length=1000, strict=False, exclude_if=_is_empty)
    ] = ()
    """Other names of the same tensor."""

    @property
    def size(self) -> int:
        """Scalars in it."""
        return math.prod(self.shape)


class ModuleSpec(Spec):
    """What a plan and a file know of a module that the user has written.

    The module itself is given where it is needed: to `npas.plan`, `npas.share` and `npas.load`.
    """

    kind: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(
        description="the class, as module.Name"
    )
    layers: Annotated[tuple[ModuleLayer, ...], Field(max_length=MAX_LAYERS, strict=False)]
    tensors: Annotated[tuple[ModuleTensor, ...], Field(max_length=_MAX_TENSORS, strict=False)]
    settings: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")], ...],
        Field(max_length=_MAX_TENSORS, strict=False),
    ] = Field(description="a digest for each module inside: its class, and torch's own settings")
    macs: int | None = Field(
        None,
        ge=0,
        le=2**60,
        exclude_if=lambda value: value is None,
        description="multiply-adds for one example of the input it was planned with",
    )

    @model_validator(mode="after")
    def _layers_are_trained_tensors(self) -> Self:
        named = [name for each in self.tensors for name in (each.name, *each.ties)]
        if len(set(named)) < len(named):
            raise ValueError("two tensors have the same name")
        trained = {each.name: each for each in self.tensors if each.kind == "trained"}
        layers = [layer.name for layer in self.layers]
        if len(set(layers)) < len(layers):
            raise ValueError("two layers have the same name")
        for name in layers:
            if name not in trained or not 2 <= len(trained[name].shape) <= 5:
                raise ValueError(f"layer {name!r} is no trained tensor of 2 to 5 dimensions")
            if not trained[name].size:
                raise ValueError(f"layer {name!r} is empty")
        return self

    @property
    def num_trained(self) -> int:
        """Trainable scalars, each tensor counted once."""
        return sum(each.size for each in self.tensors if each.kind == "trained")
