"""What networks begin with where that is not chance."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from npas.spec.checked import Spec

Fit = Literal["aligned", "activations", "weights"]
"""What banks are fitted to, see `StartSpec.fit`."""


class StartSpec(Spec):
    """What the networks begin with in place of random weights; or whose banks they join."""

    checkpoint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of a model file that a job delivered, of networks of the same "
        "layers, or of a safetensors file of the weights of the network itself"
    )
    fit: Fit = Field(
        "activations",
        description="how banks begin that the file has not: activations: hidden units are put in "
        "an order in which layers agree, then banks are fitted to the weights, and then to what "
        "layers put out for 1,000 training images; aligned: to the weights alone; weights: to "
        "the weights as they are",
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
