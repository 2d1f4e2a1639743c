"""What the families of networks for small images have in common: names with numbers, `scale`."""

import math
import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from npas.arch.layers import Role, RoleOf
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, Spec

MAX_SCALE = 8

WIDTHS = (1.0, 0.7, 1.4, 2.0, 2.8)
"""Of other sizes of a network, by its own: steps of half an octave, each about twice the
multiply-adds of the one before. 1.4, not the root of 2: with its channels rounded, the next
wider network then stays within twice, and that of wrn-28-10 has the stages of wrn-28-14."""


class ScaleOptions(Spec):
    """The option of every such family."""

    scale: float = Field(
        1.0, gt=0, le=MAX_SCALE, description="multiplies every channel count, rounded, at least 1"
    )


def scaled(num_channels: int, scale: float) -> int:
    """Return a channel count times the scale, to the nearest (halves up), at least 1."""
    return max(1, math.floor(num_channels * scale + 0.5))


def scale_of(spec: ArchitectureSpec) -> float:
    """Return the scale that a spec asks for."""
    return float(spec.options.get("scale", 1.0))


def ends(spec: ArchitectureSpec) -> tuple[int, int]:
    """Return num_classes and input_channels of a resolved spec."""
    assert spec.num_classes is not None
    assert spec.input_channels is not None
    return spec.num_classes, spec.input_channels


class ScaledFamily:
    """A family with the option `scale`, for images of 32 pixels or any from 4."""

    sizes = (10, 3, 32)
    Options: type[Spec] = ScaleOptions

    def default_size(self, name: str) -> int:  # noqa: ARG002 - the same for every name
        """Return 32 pixels."""
        return self.sizes[2]

    def fits(self, name: str, size: int) -> bool:  # noqa: ARG002 - the same for every name
        """Return whether something is left of the image after two halvings."""
        return size >= 4

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec:
        """Return the spec with its scale multiplied."""
        options = {**spec.options, "scale": scale_of(spec) * factor}
        return spec.model_copy(update={"options": options})

    def other_sizes(self, spec: ArchitectureSpec) -> tuple[ArchitectureSpec, ...]:
        """Return the other widths at this depth, then all widths at the depths beside it."""
        found = []
        for name in (spec.name, *self.other_depths(spec)):
            named = spec.model_copy(update={"name": name})
            for width in WIDTHS:
                if (name, width) == (spec.name, 1.0) or scale_of(spec) * width > MAX_SCALE:
                    continue
                found.append(named if width == 1.0 else self.narrower(named, width))
        return tuple(found)

    def other_depths(self, spec: ArchitectureSpec) -> Sequence[str]:
        """Return the names of the networks beside this one in depth; none by default."""
        del spec
        return ()

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:  # noqa: ARG002 - of any size
        """Return the papers' roles: the first block of a stage is a transition."""
        return residual_roles


class SmallImageFamily(ScaledFamily):
    """A family whose names are numbers in a form.

    Attributes:
        form: the name with {} for each number; the first one is the depth.
        depth: step and rest of the depths there are, then the least and most steps.
        most: the largest of each other number; the least is 1.
        elsewhere: where else a user may have to look, for messages.
    """

    form: ClassVar[str]
    depth: ClassVar[tuple[int, int, int, int]]
    most: ClassVar[tuple[int, ...]] = ()
    elsewhere: ClassVar[str] = ""

    def _numbers(self, name: str) -> list[int] | None:
        found = re.fullmatch(self.form.replace("{}", "([0-9]{1,5})"), name)
        return [int(number) for number in found.groups()] if found else None

    def matches(self, name: str) -> bool:
        """Return whether the name has the form."""
        return self._numbers(name) is not None

    def rule(self, spec: ArchitectureSpec) -> tuple[int, int, int, int]:  # noqa: ARG002 - see there
        """Return `depth`; a family whose options change it says so here."""
        return self.depth

    def read(self, spec: ArchitectureSpec) -> tuple[int, ...]:
        """Return the steps of depth, then the other numbers of the name.

        Raises:
            InvalidSpecError: a number is not allowed; the nearest name is in the message.
        """
        depth, *others = self._numbers(spec.name) or (0,)
        step, rest, least, most = self.rule(spec)
        num_steps = max(least, min(most, round((depth - rest) / step)))
        near = tuple(max(1, min(m, n)) for m, n in zip(self.most, others, strict=True))
        if (rest + step * num_steps, *near) != (depth, *others):
            limits = "".join(f", then 1 to {number}" for number in self.most)
            raise InvalidSpecError(
                f"{spec.name}: the depth must be {step} n + {rest}, from {rest + step * least} to "
                f"{rest + step * most}{limits}; the nearest is "
                f"{self.form.format(rest + step * num_steps, *near)}{self.elsewhere}",
                field="/architecture/name",
            )
        return num_steps, *near

    def other_depths(self, spec: ArchitectureSpec) -> Sequence[str]:
        """Return the names with about two thirds and three halves of the blocks, if allowed."""
        num_steps, *others = self.read(spec)
        fewer = min(num_steps - 1, math.floor(num_steps / 1.5 + 0.5))
        more = max(num_steps + 1, math.floor(num_steps * 1.5 + 0.5))
        _, _, least, most = self.rule(spec)
        return [
            self.called(spec, steps, others) for steps in (fewer, more) if least <= steps <= most
        ]

    def called(self, spec: ArchitectureSpec, num_steps: int, others: Sequence[int]) -> str:
        """Return the name of what `read` would return of it."""
        step, rest, _, _ = self.rule(spec)
        return self.form.format(rest + step * num_steps, *others)


def residual_roles(name: str) -> tuple[Role, str]:
    """Return (role, stage) of a layer of `stages.S.BLOCK`, of its shortcut, or of an end."""
    parts = name.split(".")
    if parts[0] != "stages":
        return ("stem", "stem") if parts[0] == "conv" else ("classifier", "classifier")
    stage = f"stage {int(parts[1]) + 1}"
    if parts[3] == "shortcut":
        return "shortcut", stage
    return ("transition" if parts[2] == "0" else "body"), stage
