"""Which other networks may be planned in place of the one asked for, and what they may cost."""

from pydantic import Field

from npas.spec.checked import Spec

MAX_LIMIT = 10**18


class SearchSpec(Spec):
    """What is searched beside who shares what."""

    scale: bool = Field(
        False,
        description="offer the network's other widths and depths at the same budget, too; a race "
        "on the data chooses one",
    )


class LimitsSpec(Spec):
    """What each network that a search offers may take to run, without sharing in its way."""

    macs: int | None = Field(
        None,
        ge=1,
        le=MAX_LIMIT,
        description="most multiply-adds for one example; left out: twice those of the network "
        "asked for",
    )
    activation_bytes: int | None = Field(
        None,
        ge=1,
        le=MAX_LIMIT,
        description="most bytes of activations at once for one example, in float32; left out: any",
    )
