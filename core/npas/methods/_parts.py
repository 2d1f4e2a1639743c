"""The banks of layers that may share, while a method deals out its budget."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from npas import blocks
from npas.arch.layers import Layer
from npas.plans import Bank, Group, Slot

Part = tuple[Layer, ...]
"""Layers that may share: one group of the plan, or private layers if sharing saves nothing."""


class PartBanks:
    """The banks of one part while templates are dealt out."""

    def __init__(self, part: Part, *, tied: bool) -> None:
        self.part = part
        self.shapes = blocks.ordered({layer.shape for layer in part})
        self.sizes = blocks.sizes(self.shapes)
        self.reads = [blocks.reads(self.shapes, layer.shape) for layer in part]
        self.users = [sum(bank in r for r in self.reads) for bank in range(len(self.shapes))]
        self.templates = [1] * len(self.shapes)
        self.tied = tied
        self.own = sum(layer.size for layer in part)

    def rows(self, bank: int, templates: int) -> int:
        """Return a bank's coefficient vectors; a lone reader of a lone template needs none."""
        if templates == 1 and self.users[bank] == 1:
            return 0
        return 1 if self.tied else self.users[bank]

    def price(self, bank: int, templates: int) -> int:
        """Return the parameters of a bank with so many templates."""
        return templates * (self.sizes[bank] + self.rows(bank, templates))

    @property
    def shared(self) -> int:
        """Parameters of all banks."""
        return sum(self.price(bank, k) for bank, k in enumerate(self.templates))

    @property
    def is_private(self) -> bool:
        """Whether sharing saves nothing, so that plain weights are as small and as free."""
        few = all(k <= u for k, u in zip(self.templates, self.users, strict=True))
        return self.shared >= self.own and few

    @property
    def cost(self) -> int:
        """Parameters of the part as it will be stored."""
        return self.own if self.is_private else self.shared

    def group(self, name: str) -> Group:
        """Return the part as a group of the plan."""
        banks = tuple(
            Bank(shape=shape, size=size, templates=k, rows=self.rows(bank, k))
            for bank, (shape, size, k) in enumerate(
                zip(self.shapes, self.sizes, self.templates, strict=True)
            )
        )
        counters = [itertools.count() for _ in banks]
        slots = []
        for layer, reads in zip(self.part, self.reads, strict=True):
            rows: list[int | None] = [None] * len(banks)
            for bank in reads:
                own_row = next(counters[bank])
                rows[bank] = own_row if banks[bank].rows > 1 else 0
            slots.append(
                Slot(network=layer.network, layer=layer.name, shape=layer.shape, rows=tuple(rows))
            )
        return Group(name=name, recipe="nest", banks=banks, slots=tuple(slots))

    def without(self, layer: Layer) -> "PartBanks":
        """Return the banks of the part without a layer; templates stay, at most one per reader."""
        rest = PartBanks(tuple(other for other in self.part if other != layer), tied=self.tied)
        had = dict(zip(self.shapes, self.templates, strict=True))
        rest.templates = [min(had[s], u) for s, u in zip(rest.shapes, rest.users, strict=True)]
        return rest


def banks_of(parts: Sequence[Part], *, tied: bool = False) -> list[PartBanks]:
    """Return the banks of every part, one template each."""
    return [PartBanks(part, tied=tied) for part in parts]


def cost(shapes: Sequence[PartBanks]) -> int:
    """Return the parameters of all parts."""
    return sum(shape.cost for shape in shapes)


def most(shapes: Sequence[PartBanks], cap: int) -> int:
    """Return the parameters that all parts can use when every SuperWeight has `cap` templates."""
    return sum(shape.price(b, cap) for shape in shapes for b in range(len(shape.sizes)))


def fill(shapes: Sequence[PartBanks], spare: int, cap: int, *, to_users: bool) -> int:
    """Deal out spare parameters as whole templates, in place, groups and widths ascending.

    Source: the released SuperWeights code's default routine. It compares with the budget
    strictly; here a template that fits exactly is given, and savings of groups that turn
    private are dealt out again.

    Args:
        shapes: the banks of all parts.
        spare: parameters to deal out.
        cap: most templates of a bank.
        to_users: give the (c + 1)-th template only to banks with more than c readers (phase A);
            else to any bank (phase B).

    Returns:
        What is left.
    """
    for count in range(1, cap):
        for shape in shapes:
            for bank, users in enumerate(shape.users):
                if shape.templates[bank] != count or (to_users and users <= count):
                    continue
                before = shape.cost
                shape.templates[bank] += 1
                price = shape.cost - before
                if price > spare:
                    shape.templates[bank] -= 1
                else:
                    spare -= price
    return spare


Removal = tuple[int, int, Layer, PartBanks]
"""Price of taking a layer out, the index of its part, the layer, what is left of the part."""


def _removals(shapes: Sequence[PartBanks], *, only_lone: bool = False) -> Iterator[Removal]:
    """Yield every way to give one layer weights of its own; of layers of one shape the first.

    Args:
        shapes: the banks of all parts.
        only_lone: leave out layers whose shape others in the part have.
    """
    for index, shape in enumerate(shapes):
        firsts = {layer.shape: layer for layer in reversed(shape.part)}
        counts = Counter(layer.shape for layer in shape.part)
        for layer in () if shape.is_private else firsts.values():
            if only_lone and counts[layer.shape] > 1:
                continue
            rest = shape.without(layer)
            yield layer.size + rest.cost - shape.cost, index, layer, rest


def _removed(shapes: Sequence[PartBanks], removal: Removal) -> list[PartBanks]:
    _, index, layer, rest = removal
    alone = PartBanks((layer,), tied=rest.tied)
    return [*shapes[:index], rest, alone, *shapes[index + 1 :]]


def freed(shapes: Sequence[PartBanks], spare: int) -> list[PartBanks]:
    """Let single layers keep weights of their own while it fits, the dearest that fits first.

    Equal prices go by the order of the parts.
    """
    while True:
        fitting = (removal for removal in _removals(shapes) if removal[0] <= spare)
        dearest = max(fitting, key=lambda removal: removal[0], default=None)
        if dearest is None:
            return list(shapes)
        spare -= dearest[0]
        shapes = _removed(shapes, dearest)


def trimmed(shapes: Sequence[PartBanks]) -> list[PartBanks]:
    """Let layers go whose sharing costs more than it saves: shapes that hardly nest.

    A layer whose shape others have saves all its weights but a few coefficients.
    """
    while True:
        cheapest = min(
            _removals(shapes, only_lone=True), key=lambda removal: removal[0], default=None
        )
        if cheapest is None or cheapest[0] >= 0:
            return list(shapes)
        shapes = _removed(shapes, cheapest)
