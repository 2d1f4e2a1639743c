"""In which order networks are asked, which of them answer after each, and when to stop asking.

Chosen on held-out images, and kept as data, so that a file can hold it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from npas.errors import InvalidSpecError
from npas.spec import Spec

LADDER = "ladder"
"""The name under which a model file holds its ladder, beside the weights."""

NetworkName = Annotated[str, Field(min_length=1, max_length=40)]


class Rung(Spec):
    """One network more.

    Attributes:
        network: that is asked now.
        answering: whose mean probability is the answer then: networks asked by now, not all of
            them where a weak one would spoil it.
    """

    network: NetworkName
    answering: Annotated[tuple[NetworkName, ...], Field(min_length=1, max_length=16, strict=False)]


class Ladder(Spec):
    """The way from the first answer to the best.

    Attributes:
        rungs: in their order, each network once; those that never help are left out.
        threshold: confidence, 0 to 1, from which on no more networks are asked for an image; None:
            all are asked.
    """

    rungs: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=16, strict=False)]
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None

    @model_validator(mode="after")
    def _asks_first(self) -> Self:
        asked: set[str] = set()
        for rung in self.rungs:
            if rung.network in asked:
                raise ValueError(f"{rung.network} is asked twice")
            asked.add(rung.network)
            if strange := sorted(set(rung.answering) - asked):
                raise ValueError(f"{', '.join(strange)} would answer before being asked")
            if len(set(rung.answering)) < len(rung.answering):
                raise ValueError(f"a network answers twice after {rung.network}")
        return self

    @property
    def networks(self) -> tuple[str, ...]:
        """Return the networks that are asked, in order."""
        return tuple(rung.network for rung in self.rungs)


def by_cost(macs: Mapping[str, int]) -> Ladder:
    """Return the ladder of which nothing was measured: from cheap to dear, all asked answer.

    Args:
        macs: multiply-adds of each network, for one image.
    """
    order = sorted(macs, key=lambda name: (macs[name], name))
    rungs = [Rung(network=name, answering=tuple(order[: i + 1])) for i, name in enumerate(order)]
    return Ladder(rungs=tuple(rungs))


def ladder_of(extra: Mapping[str, Any]) -> Ladder | None:
    """Return the ladder that lies beside the weights of a file; None: there is none.

    Args:
        extra: of the file.

    Raises:
        InvalidSpecError: what lies there is no ladder.
    """
    if LADDER not in extra:
        return None
    try:
        return Ladder.model_validate(extra[LADDER])
    except ValidationError as error:
        raise InvalidSpecError(
            f"the ladder in the file is none: {error.errors()[0]['msg']}; give one of your own"
        ) from error
