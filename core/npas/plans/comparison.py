"""Two plans of the same networks side by side: what moved, what grew."""

from collections import Counter
from collections.abc import Sequence

from npas.errors import PlanError
from npas.plans import Group, LayerKey, Ledger, Plan, check_plan
from npas.spec import Spec


class Move(Spec):
    """A layer that shares with others than before.

    Attributes:
        network: of the layer.
        layer: its name.
        before: the group it was in; None for a weight of its own.
        after: the group it is in; None likewise.
    """

    network: str
    layer: str
    before: str | None
    after: str | None


class GroupChange(Spec):
    """A group of one plan and the one that took its place in the other.

    Attributes:
        before: its name; None for a group that is new.
        after: its name; None for a group that is gone.
        layers: how many, before and after.
        kept: how many of them are the same.
        templates: in all banks, before and after.
        rows: coefficient vectors in all banks, before and after.
        parameters: trainable scalars, before and after.
    """

    before: str | None
    after: str | None
    layers: tuple[int, int]
    kept: int
    templates: tuple[int, int]
    rows: tuple[int, int]
    parameters: tuple[int, int]


class Comparison(Spec):
    """What differs between two plans.

    Attributes:
        moves: layers that changed their group, in the order of the second plan.
        groups: those of the second plan in their order, then those of the first that are gone.
        ledger: field -> scalars after minus scalars before, for each field of `Ledger`.
    """

    moves: tuple[Move, ...]
    groups: tuple[GroupChange, ...]
    ledger: dict[str, int]

    @property
    def is_same(self) -> bool:
        """Whether no layer moved and nothing that is stored has another size."""
        return not self.moves and all(
            group.templates[0] == group.templates[1] and group.rows[0] == group.rows[1]
            for group in self.groups
        )

    def text(self) -> str:
        """Return the comparison for people, a line for each thing that changed."""
        lines = [
            f"{move.network}/{move.layer}: {self._called(move.before)} -> "
            f"{move.after or 'not shared'}"
            for move in self.moves
        ]
        for group in self.groups:
            counts = [
                f"{name} {before} -> {after}"
                for name in ("layers", "templates", "rows", "parameters")
                for before, after in [getattr(group, name)]
                if before != after
            ]
            if counts:
                lines.append(f"{group.before or 'new'} -> {group.after or 'gone'}: ")
                lines[-1] += ", ".join(counts)
        changed = [f"{name} {value:+,}" for name, value in self.ledger.items() if value]
        return "\n".join([*lines, "parameters: " + (", ".join(changed) or "the same")])

    def _called(self, before: str | None) -> str:
        """Return the name of a group of the first plan, with its new one if it has another."""
        if before is None:
            return "not shared"
        now = next(group.after for group in self.groups if group.before == before)
        return before if now == before else f"{before} ({f'now {now}' if now else 'gone'})"


def compare(before: Plan, after: Plan) -> Comparison:
    """Compare two plans of the same networks, such as the ones before and after a search.

    Names of groups are no guide: a group's place is taken by the one with most of its layers.

    Args:
        before: a plan.
        after: another, of the same networks.

    Raises:
        PlanError: one is no plan, or they are of other networks.

    Example:
        >>> import npas
        >>> small = npas.plan("resnet-20", budget={"fraction": 0.3})
        >>> large = npas.plan("resnet-20", budget={"fraction": 0.4})
        >>> npas.compare(small, large).ledger["total"] > 0
        True
    """
    check_plan(before, argument="before")
    check_plan(after, argument="after")
    old, new = _homes(before), _homes(after)
    if old.keys() != new.keys():
        raise PlanError(_of_others(before, after, sorted(old.keys() ^ new.keys())))
    partner = matched(before, after)
    moves = [
        Move(network=name[0], layer=name[1], before=old[name], after=home)
        for name, home in new.items()
        if (old[name] != partner.get(home, "") if home else old[name] is not None)
    ]
    olds = {group.name: group for group in before.groups}
    pairs: list[tuple[Group | None, Group | None]] = [
        (olds.get(partner.get(group.name, "")), group) for group in after.groups
    ]
    gone = [group for group in before.groups if group.name not in partner.values()]
    pairs += [(group, None) for group in gone]
    return Comparison(
        moves=tuple(moves),
        groups=tuple(_change(one, other) for one, other in pairs),
        ledger={
            field: getattr(after.ledger, field) - getattr(before.ledger, field)
            for field in Ledger.model_fields
        },
    )


def matched(before: Plan, after: Plan) -> dict[str, str]:
    """Return for the groups of a plan which ones of the plan before they take the place of.

    The pair with most layers in common first, then the next of those that are left; groups that
    have none in common are new.
    """
    old, new = _homes(before), _homes(after)
    common = Counter((new[name], old[name]) for name in new if new[name] and old.get(name))
    order = [group.name for plan in (after, before) for group in plan.groups]
    found: dict[str, str] = {}
    for (own, theirs), _ in sorted(
        common.items(),
        key=lambda item: (-item[1], order.index(str(item[0][0])), str(item[0][1])),
    ):
        if own and theirs and own not in found and theirs not in found.values():
            found[own] = theirs
    return found


def _homes(plan: Plan) -> dict[LayerKey, str | None]:
    """Return the group of every layer, None for a layer with a weight of its own."""
    homes: dict[LayerKey, str | None] = {
        slot.key: group.name for group in plan.groups for slot in group.slots
    }
    return homes | {layer.key: None for layer in plan.private}


def _of_others(before: Plan, after: Plan, differing: Sequence[LayerKey]) -> str:
    """Return the sentence about layers that only one of the plans covers."""
    both = [
        ", ".join(f"{net.name} ({net.architecture.name})" for net in plan.networks)
        for plan in (before, after)
    ]
    names = ", ".join("/".join(name) for name in differing[:3])
    return (
        f"the plans are of other networks, {both[0]} and {both[1]}: only one of them has {names}"
        f"{', ...' if len(differing) > 3 else ''}; compare plans of the same networks"
    )


def _change(before: Group | None, after: Group | None) -> GroupChange:
    both = (before, after)
    layers = [{s.key for s in group.slots} if group else set() for group in both]
    banks = [group.banks if group else () for group in both]
    return GroupChange(
        before=before.name if before else None,
        after=after.name if after else None,
        layers=(len(layers[0]), len(layers[1])),
        kept=len(layers[0] & layers[1]),
        templates=(sum(b.templates for b in banks[0]), sum(b.templates for b in banks[1])),
        rows=(sum(b.rows for b in banks[0]), sum(b.rows for b in banks[1])),
        parameters=(
            before.num_parameters if before else 0,
            after.num_parameters if after else 0,
        ),
    )
