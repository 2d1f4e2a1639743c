"""fold(): layers that came out nearly alike become one, stored once; the network runs in loops.

Source: Savarese & Maire, ICLR 2019 and its poster: where the similarity of two layers is about 1,
make them one; where a stage is left with no more distinct layers than templates, drop the
templates and store the weights ("roll back"). No code of it was released. What is left open there
is settled so:
* near layers: `npas.folding.repeats`, by the similarity of weights (`npas.folding.similarity`);
* the one weight is the mean of their directions, each turned to the side of the first; every
  layer but the first keeps a scalar, unless it would be 1. So the fold of proportional weights is
  exact in any network, also where a convolution feeds a sum and no normalisation;
* normalisations and biases stay each layer's own: one per iteration of a loop;
* a group that would not become smaller is left as it is.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from npas.errors import InvalidSpecError
from npas.folding.loops import loops
from npas.folding.repeats import ROUNDING, repeats
from npas.folding.similarity import comparable, cosine_of_gram, gram_of, has_own_rows
from npas.plans import Group, Ledger, Plan, PrivateLayer, Slot
from npas.recipes.loop import loop_group
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel, check_shared, share
from npas.sharing.precision import own_precision


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldedGroup:
    """What became of a group.

    Attributes:
        name: that it had.
        layers: in it.
        distinct: weights that are left.
        parameters_before: of the group.
        parameters: of what it became, weights that are nobody else's included.
        rolled_back: whether templates were dropped and weights are stored.
        least_similarity: of two layers that became one; 1 where none did.
    """

    name: str
    layers: int
    distinct: int
    parameters_before: int
    parameters: int
    rolled_back: bool
    least_similarity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """A folded network.

    Attributes:
        model: with a plan and a ledger of its own; save and load it as any other.
        threshold: that was asked for.
        groups: those that could have been folded, of at least two layers that are all of one
            shape; none of most methods but soft_sharing.
    """

    model: SharedModel
    threshold: float
    groups: tuple[FoldedGroup, ...]

    @property
    def is_exact(self) -> bool:
        """Whether all that became one was proportional: outputs are as before, up to rounding."""
        return all(group.least_similarity >= 1 - ROUNDING for group in self.groups)

    def loops(self) -> nn.Module:
        """Return the network that runs as loops; see `npas.loops`."""
        return loops(self.model)

    def text(self) -> str:
        """Return for people what became of each group, or why none could be folded."""
        if not self.groups:
            return _nothing(self.model.plan)
        lines = [
            f"{group.name}: layers {group.layers} -> {group.distinct}, parameters "
            f"{group.parameters_before:,} -> {group.parameters:,}"
            for group in self.groups
        ]
        if all(group.parameters == group.parameters_before for group in self.groups):
            lines.append(
                f"nothing was folded: no layers are alike by {self.threshold:g} (npas.similarity "
                "says how much they are), or one weight for them would save nothing"
            )
        return "\n".join(lines)


def _nothing(plan: Plan) -> str:
    """Return why a plan has no group that could be folded."""
    if not plan.groups:
        return f"nothing was folded: by this plan of {plan.method} no layers share"
    return (
        f"nothing was folded: by this plan of {plan.method} no two layers of one shape share a "
        "bank without layers of other shapes, so that none can become one; soft_sharing makes "
        "such groups"
    )


@own_precision()
def fold(model: SharedModel, threshold: float = 0.99) -> Folded:
    """Make near-equal layers one.

    Only layers of a group that is all of one shape can become one, such as those of soft_sharing.
    A network without such groups, as most are of the other methods, comes back as it is, with
    no groups; `Folded.text()` says what was folded, or why nothing was.

    Where the fold is not exact, `npas.recalibrate` the folded network: its normalisations still
    hold the statistics of the layers as they were.

    Args:
        model: from `npas.share`, trained, or from `npas.load`; left as it is.
        threshold: least similarity of layers that become one, above 0, at most 1. At 1 the
            folded network computes the same as before, up to rounding.

    Raises:
        InvalidSpecError: the model is not a shared network, or the threshold is not possible.

    Example:
        >>> import npas
        >>> plan = npas.plan("wrn-28-1", method="soft_sharing", templates=1)
        >>> folded = npas.fold(npas.share(npas.build("wrn-28-1"), plan))
        >>> [(group.layers, group.distinct) for group in folded.groups]
        [(6, 1), (6, 1), (6, 1)]
    """
    check_shared(model)
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not (is_number and 0 < threshold <= 1):
        raise InvalidSpecError(
            f"threshold {threshold!r}: give the least similarity of layers to fold, above 0 and "
            "at most 1",
            field="/method/fold",
        )
    with torch.no_grad():
        grams = {
            group.name: gram_of(_shared(model, group).weights())
            for group in comparable(model.plan)
        }
    near = {name: cosine_of_gram(gram).abs() for name, gram in grams.items()}
    found = repeats(model, near, threshold)
    changes = [
        _Change(group, found[group.name], grams[group.name], mixes=_mixes(model, group))
        for group in model.plan.groups
        if group.name in found
    ]
    folded = _rewritten(model, {c.group.name: c for c in changes if c.is_smaller})
    return Folded(
        model=folded, threshold=threshold, groups=tuple(change.summary() for change in changes)
    )


def _shared(model: SharedModel, group: Group) -> SharedGroup:
    return cast(SharedGroup, model.groups[group.name])


def _mixes(model: SharedModel, group: Group) -> bool:
    """Return whether the group's weights are its rows times its templates and a gain."""
    if not has_own_rows(group) or group.banks[0].size != math.prod(group.slots[0].shape):
        return False
    shared = _shared(model, group)
    rows = [slot.rows[0] or 0 for slot in group.slots]
    alpha_LK, templates_KD = cast(Tensor, shared.coefficients[0])[rows], shared.templates[0]
    with torch.no_grad():
        gains = [group.gain(group.banks[0], slot, mixed=True) for slot in group.slots]
        made = alpha_LK.new_tensor(gains).unsqueeze(1) * (alpha_LK @ cast(Tensor, templates_KD))
        weights = torch.stack([weight.reshape(-1) for weight in shared.weights()])
        return torch.allclose(made, weights, rtol=1e-3, atol=1e-5)


class _Change:
    """What is to become of one group."""

    def __init__(
        self, group: Group, repeated: Sequence[int], gram: Tensor, *, mixes: bool
    ) -> None:
        self.group, self.repeats = group, repeated
        self.distinct = max(repeated) + 1
        self.scaled = _scaled(repeated, gram)
        self.least_similarity = _least(repeated, gram)
        size, scalars = group.num_dense // len(group.slots), sum(self.scaled)
        self.templates = 0
        self.num_parameters = self.distinct * size + scalars
        templates = group.banks[0].templates
        mixed = templates * (size + self.distinct) + scalars
        if mixes and mixed < self.num_parameters:
            self.templates, self.num_parameters = templates, mixed

    @property
    def is_smaller(self) -> bool:
        return self.num_parameters < self.group.num_parameters

    def summary(self) -> FoldedGroup:
        before, layers = self.group.num_parameters, len(self.group.slots)
        return FoldedGroup(
            name=self.group.name,
            layers=layers,
            distinct=self.distinct if self.is_smaller else layers,
            parameters_before=before,
            parameters=self.num_parameters if self.is_smaller else before,
            rolled_back=self.is_smaller and not self.templates,
            least_similarity=self.least_similarity if self.is_smaller else 1.0,
        )

    def groups(self) -> list[tuple[list[Slot], list[int], list[bool]]]:
        """Return slots, distinct weights and who is scaled of the groups that take its place."""
        everyone = range(len(self.group.slots))
        if self.templates:
            parts = [list(everyone)]
        else:
            counts = Counter(self.repeats)
            parts = [
                [index for index in everyone if self.repeats[index] == repeat]
                for repeat in range(self.distinct)
                if counts[repeat] > 1
            ]
        return [
            (
                [self.group.slots[index] for index in part],
                [self.repeats[index] if self.templates else 0 for index in part],
                [self.scaled[index] for index in part],
            )
            for part in parts
        ]


def _least(repeated: Sequence[int], gram: Tensor) -> float:
    """Return the least similarity of two layers that become one."""
    labels = torch.tensor(repeated)
    is_one = labels.unsqueeze(0) == labels.unsqueeze(1)
    return float(cosine_of_gram(gram).abs()[is_one].min())


def _scaled(repeated: Sequence[int], gram: Tensor) -> list[bool]:
    """Return which layers need a scalar: their length along the mean direction is another."""
    cosine = cosine_of_gram(gram)
    scaled = []
    for index, repeat in enumerate(repeated):
        members = [other for other, same in enumerate(repeated) if same == repeat]
        signs = torch.where(cosine[members[0], members] < 0, -1.0, 1.0)
        towards = signs / gram.diagonal()[members].sqrt().clamp(min=1e-150)
        along = gram[[members[0], index]][:, members] @ towards.double()
        scaled.append(abs(float(along[1] - along[0])) > ROUNDING * abs(float(along[0])))
    return scaled


def _rewritten(model: SharedModel, changes: Mapping[str, _Change]) -> SharedModel:
    """Return the network with some groups changed, all else bit for bit as it was."""
    plan, origins = _plan(model, changes)
    plain = model.materialise()
    weights = {
        slot.key: weight
        for group in model.plan.groups
        for slot, weight in zip(group.slots, _shared(model, group).weights(), strict=True)
    }
    folded = share(plain, plan)
    for group in plan.groups:
        shared = _shared(folded, group)
        if group.name in origins:
            shared.load_state_dict(model.groups[origins[group.name]].state_dict())
        else:
            exact = [weights[slot.network, slot.layer].cpu().double() for slot in group.slots]
            shared.fit(exact)
    folded.extra = dict(model.extra)
    for module in (folded, folded.networks, *folded.groups.modules()):
        module.training = model.training
    return folded


def _plan(model: SharedModel, changes: Mapping[str, _Change]) -> tuple[Plan, dict[str, str]]:
    """Return the new plan, and of its groups that are as before the old names."""
    groups: list[Group] = []
    origins: dict[str, str] = {}
    for group in model.plan.groups:
        change = changes.get(group.name)
        if change is None:
            name = f"g{len(groups)}"
            groups.append(group.model_copy(update={"name": name}))
            origins[name] = group.name
        else:
            for slots, repeated, scaled in change.groups():
                name = f"g{len(groups)}"
                groups.append(
                    loop_group(name, slots, repeated, scaled, templates=change.templates)
                )
    ledger = model.plan.ledger
    shared = {slot.key for group in groups for slot in group.slots}
    freed = [
        PrivateLayer(network=slot.network, layer=slot.layer, shape=slot.shape)
        for group in model.plan.groups
        for slot in group.slots
        if slot.key not in shared
    ]
    plan = model.plan.model_copy(
        update={
            "groups": tuple(groups),
            "private": (*model.plan.private, *freed),
            "ledger": Ledger.of(
                groups,
                private=ledger.dense - sum(group.num_dense for group in groups),
                dense=ledger.dense,
                budget=ledger.budget,
            ),
        }
    )
    return Plan.model_validate_json(plan.to_json()), origins
