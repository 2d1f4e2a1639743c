"""What a training does otherwise than asked because it failed as asked: said in its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from npas.errors import InvalidSpecError

LEAST_PART = 2
"""Images of the smallest part of a batch: one alone has no variance for a batch norm."""

IMAGES_AT_ONCE = 500
"""Images that are graded at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adjustments:
    """What is done otherwise.

    Attributes:
        micro_batches: parts in which the gradient of each batch is computed, at least 1. The batch
            of an optimiser step stays what was asked for.
        learning_rate_factor: of every step's learning rate, above 0, at most 1.
    """

    micro_batches: int = 1
    learning_rate_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.micro_batches < 1 or not 0 < self.learning_rate_factor <= 1:
            raise InvalidSpecError(
                f"{self}: micro_batches is at least 1, learning_rate_factor above 0 and at most 1"
            )

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the adjustments that JSON tells; those of a later release are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in facts.items() if name in known})

    def parts(self, images: int) -> int:
        """Return in how many parts a batch of so many images is computed."""
        return max(1, min(self.micro_batches, images // LEAST_PART))

    @property
    def images_at_once(self) -> int:
        """Images that are graded at once: what is too much for a training may be for that, too."""
        return max(1, IMAGES_AT_ONCE // self.micro_batches)

    def explained(self) -> Sequence[str]:
        """Say in words what it changes."""
        told = []
        if self.micro_batches > 1:
            told.append(
                f"each batch was computed in {self.micro_batches} parts, for want of memory: the "
                "gradient is that of the whole batch but for rounding, dropout draws otherwise, "
                "and the statistics of batch normalisation are those of the parts; what a search "
                "measures, it measures on the first part of each batch"
            )
        if self.learning_rate_factor < 1:
            told.append(
                f"the learning rate was {self.learning_rate_factor:g} of what was asked for, "
                "because the training diverged at that"
            )
        return told


UNCHANGED = Adjustments()
"""All is done as asked."""
