"""The banks of layers that may share, while a method deals out its budget."""

from collections import Counter
from collections.abc import Sequence

from npas.arch.layers import Layer
from npas.plans import Bank, Group, Slot, blocks

Layers = tuple[Layer, ...]
"""Layers that may share."""


class Part:
    """Layers that may share, with their banks while templates are distributed.

    In the end it is one group of the plan, or private layers if sharing saves nothing.
    """

    def __init__(self, layers: Layers, *, tied: bool) -> None:
        self.layers = layers
        self.shapes = blocks.ordered({layer.shape for layer in layers})
        self.sizes = blocks.sizes(self.shapes)
        self.users = blocks.num_readers(self.shapes, [layer.shape for layer in layers])
        self.templates = [1] * len(self.shapes)
        self.tied = tied
        self.own = sum(layer.size for layer in layers)
        self.shared = sum(self.price(bank, 1) for bank in range(len(self.shapes)))
        """Parameters of all banks."""
        self._num_rich = 0
        """Banks with more templates than readers."""

    def rows(self, bank: int, templates: int) -> int:
        """Return a bank's coefficient vectors; a lone reader of a lone template needs none."""
        if templates == 1 and self.users[bank] == 1:
            return 0
        return 1 if self.tied else self.users[bank]

    def price(self, bank: int, templates: int) -> int:
        """Return the parameters of a bank with so many templates."""
        return templates * (self.sizes[bank] + self.rows(bank, templates))

    def give(self, bank: int, templates: int) -> None:
        """Change a bank's number of templates."""
        had, users = self.templates[bank], self.users[bank]
        self.shared += self.price(bank, templates) - self.price(bank, had)
        self._num_rich += (templates > users) - (had > users)
        self.templates[bank] = templates

    @property
    def is_private(self) -> bool:
        """Whether sharing saves nothing, so that plain weights are as small and as free."""
        return self.shared >= self.own and not self._num_rich

    @property
    def cost(self) -> int:
        """Parameters of the part as it will be stored."""
        return self.own if self.is_private else self.shared

    def group(self, name: str, owners: Sequence[int] | None = None) -> Group:
        """Return the part as a group of the plan.

        Args:
            name: of the group.
            owners: for each layer the one whose coefficients it uses, in the banks that both
                read; None: each its own. Tied parts have one vector a bank all the same.
        """
        owners = range(len(self.layers)) if owners is None else owners
        read = {shape: blocks.reads(self.shapes, shape) for shape in self.shapes}
        all_reads = [read[layer.shape] for layer in self.layers]
        places: list[dict[int, int]] = [{} for _ in self.sizes]
        slots = []
        for index, (layer, reads) in enumerate(zip(self.layers, all_reads, strict=True)):
            rows: list[int | None] = [None] * len(self.sizes)
            for bank in reads:
                owner = owners[index] if bank in all_reads[owners[index]] else index
                place = places[bank]
                rows[bank] = place.setdefault(0 if self.tied else owner, len(place))
            slots.append(
                Slot(network=layer.network, layer=layer.name, shape=layer.shape, rows=tuple(rows))
            )
        banks = tuple(
            Bank(
                shape=shape,
                size=self.sizes[bank],
                templates=self.templates[bank],
                rows=len(places[bank]) if self.rows(bank, self.templates[bank]) else 0,
            )
            for bank, shape in enumerate(self.shapes)
        )
        return Group(name=name, recipe="nest", banks=banks, slots=tuple(slots))

    def without(self, layer: Layer) -> "Part":
        """Return the part without a layer; templates stay, at most one per reader."""
        rest = Part(tuple(other for other in self.layers if other != layer), tied=self.tied)
        had = dict(zip(self.shapes, self.templates, strict=True))
        for bank, (shape, users) in enumerate(zip(rest.shapes, rest.users, strict=True)):
            rest.give(bank, min(had[shape], users))
        return rest


def parts_of(partition: Sequence[Layers], *, tied: bool = False) -> list[Part]:
    """Return the parts of a partition, every bank with one template."""
    return [Part(layers, tied=tied) for layers in partition]


def cost(parts: Sequence[Part]) -> int:
    """Return the parameters of all parts."""
    return sum(part.cost for part in parts)


def most(parts: Sequence[Part], cap: int) -> int:
    """Return the parameters that all parts can use when every SuperWeight has `cap` templates."""
    return sum(part.price(b, cap) for part in parts for b in range(len(part.sizes)))


def fill(parts: Sequence[Part], spare: int, cap: int, *, to_users: bool) -> int:
    """Distribute spare parameters as whole templates, in place, groups and widths ascending.

    Source: the released SuperWeights code's default routine. It compares with the budget
    strictly; here a template that fits exactly is given, and savings of groups that turn
    private are distributed again.

    Args:
        parts: all of them.
        spare: parameters to distribute.
        cap: most templates of a bank.
        to_users: give the (c + 1)-th template only to banks with more than c readers (phase A);
            else to any bank (phase B).

    Returns:
        What is left.
    """
    for count in range(1, cap):
        for part in parts:
            for bank, users in enumerate(part.users):
                if part.templates[bank] != count or (to_users and users <= count):
                    continue
                before = part.cost
                part.give(bank, count + 1)
                price = part.cost - before
                if price > spare:
                    part.give(bank, count)
                else:
                    spare -= price
    return spare


MOST_SHAPES = 128
"""Parts of more shapes are kept whole: densenet-100-24 has 97 of one kernel."""

MOST_PRICES = 5_000
"""Prices of single layers that are worked out at once; then the parts stay as they are. The
networks of the papers need 1,600 at most."""

Removal = tuple[int, Layer]
"""Price of taking a layer out of its part, and the layer."""


class _Removals:
    """The ways to give one layer weights of its own, while parts change.

    Every price is one of a part without that layer, which is dear: the prices of a part are worked
    out once, and no more than `MOST_PRICES` in all, so that a plan ends however many layers there
    are.

    Args:
        only_lone: leave out layers whose shape others in the part have.
    """

    def __init__(self, *, only_lone: bool) -> None:
        self._only_lone = only_lone
        self._known: dict[Part, list[Removal]] = {}
        self._left = MOST_PRICES

    def of(self, part: Part) -> list[Removal]:
        """Return the removals of a part; of layers of one shape the first."""
        if part not in self._known:
            layers = self._candidates(part)
            self._left -= len(layers)
            self._known[part] = [
                (layer.size + part.without(layer).cost - part.cost, layer) for layer in layers
            ]
        return self._known[part]

    def _candidates(self, part: Part) -> list[Layer]:
        if part.is_private or len(part.shapes) > MOST_SHAPES:
            return []
        firsts = {layer.shape: layer for layer in reversed(part.layers)}
        counts = Counter(layer.shape for layer in part.layers)
        found = [
            layer for layer in firsts.values() if not (self._only_lone and counts[layer.shape] > 1)
        ]
        return found if len(found) <= self._left else []


def _removed(parts: Sequence[Part], index: int, layer: Layer) -> list[Part]:
    rest = parts[index].without(layer)
    alone = Part((layer,), tied=rest.tied)
    return [*parts[:index], rest, alone, *parts[index + 1 :]]


def freed(parts: Sequence[Part], spare: int) -> list[Part]:
    """Let single layers keep weights of their own while it fits, the dearest that fits first.

    Equal prices go by the order of the parts. Parts of very many shapes stay whole, see
    `MOST_SHAPES` and `MOST_PRICES`.
    """
    removals = _Removals(only_lone=False)
    while True:
        fitting = (
            (price, index, layer)
            for index, part in enumerate(parts)
            for price, layer in removals.of(part)
            if price <= spare
        )
        dearest = max(fitting, key=lambda each: each[0], default=None)
        if dearest is None:
            return list(parts)
        spare -= dearest[0]
        parts = _removed(parts, *dearest[1:])


def trimmed(parts: Sequence[Part]) -> list[Part]:
    """Let layers go whose sharing costs more than it saves: shapes that hardly nest.

    A layer whose shape others have saves all its weights but a few coefficients. Parts of very
    many shapes stay whole, see `MOST_SHAPES` and `MOST_PRICES`.
    """
    removals = _Removals(only_lone=True)
    while True:
        found = (
            (price, index, layer)
            for index, part in enumerate(parts)
            for price, layer in removals.of(part)
        )
        cheapest = min(found, key=lambda each: each[0], default=None)
        if cheapest is None or cheapest[0] >= 0:
            return list(parts)
        parts = _removed(parts, *cheapest[1:])
