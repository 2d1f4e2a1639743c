"""How several networks of a job that share one bank are trained together."""

from typing import Annotated, Literal

from pydantic import Field

from npas.spec.checked import Spec


class EnsembleSpec(Spec):
    """Training of several networks at once; of a lone network all of it is left at its defaults.

    A step minimises the sum of the losses of the networks that take part in it. Networks, banks
    and rows of coefficients that none of them reads do not move.

    Source: Zhang et al., "Deep Mutual Learning", CVPR 2018, section 2.2: each network learns from
    the labels and from the mean of KL(other || network) over the others.
    Difference: there the two losses are added, and the networks change one after another; here
    they are weighed, (1 - mutual) and mutual, and all networks change at once. KL counts times
    mutual_temperature squared, and what a teacher says belongs to the network's own loss.
    """

    networks_trained: Annotated[int, Field(ge=1, le=16)] | Literal["all"] = Field(
        "all", description="networks that take part in a step, a random choice of them"
    )
    first_always: bool = Field(
        False, description="the first network takes part in every step, beside others by chance"
    )
    drawn: Literal["step", "epoch"] = Field(
        "step", description="when it is chosen anew which networks take part"
    )
    mutual: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of what the others say; a network's own loss: the rest",
    )
    mutual_temperature: float = Field(
        1.0, gt=0, le=100, description="divides the logits that networks learn from each other"
    )
    batches: Literal["same", "own"] = Field(
        "same",
        description="whether all networks see the same images in a step, or each its own, in its "
        "own order and with its own random changes",
    )
