"""Layers that start with the same coefficients, and which of them part."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from npas.arch.layers import Layer
from npas.errors import PlanError
from npas.methods._linkage import agreeing, cosines
from npas.plans import Group
from npas.plans.evidence import BankAgreement, CoefficientAgreement, Evidence
from npas.plans.rows import is_tied, readers_of_bank, with_owners

Coefficients = Literal["own", "shared", "joined"]
"""Who starts with whose coefficients: own; all of one shape one; those of the first network."""


def owners(layers: Sequence[Layer], how: Coefficients, evidence: Evidence | None) -> list[int]:
    """Return for each layer the one whose coefficients it starts with, as an index into `layers`.

    Source: `--coefficient_share` of the released SuperWeights code, which is "joined": the first
    network's layers have coefficients of their own, and a layer of another network starts with
    those of the layer that its gradients agree with most. With one network that is "own". In
    "shared" all layers of one shape start with one vector, which also one network can do.

    Args:
        layers: of one group, in depth order for each network.
        how: see above.
        evidence: for "joined"; None takes the layer at the same relative depth of the group.
    """
    if how == "shared":
        firsts = {layer.shape: i for i, layer in reversed(list(enumerate(layers)))}
        return [firsts[layer.shape] for layer in layers]
    found = list(range(len(layers)))
    if how == "own":
        return found
    networks: dict[str, list[int]] = defaultdict(list)
    for index, layer in enumerate(layers):
        networks[layer.network].append(index)
    (first, *others) = networks.values()
    agreement = None if evidence is None else np.nan_to_num(cosines(layers, evidence))
    for own in others:
        for place, index in enumerate(own):
            if agreement is None:
                found[index] = first[place * len(first) // len(own)]
            else:
                found[index] = first[int(agreement[index, first].argmax())]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Tying:
    """Who starts with whose coefficients, and what is known of who agrees; see `owners`."""

    how: Coefficients = "own"
    evidence: Evidence | None = None

    def owners(self, layers: Sequence[Layer]) -> list[int]:
        """Return for each layer of a group the one whose coefficients it starts with."""
        return owners(layers, self.how, self.evidence)


UNTIED = Tying()
"""All have their own."""


def parted(
    groups: Sequence[Group], evidence: CoefficientAgreement, threshold: float
) -> tuple[Group, ...]:
    """Return groups where only layers that agree share coefficients.

    Of the layers that shared one vector, those whose gradients for it agree more than the
    threshold stay together, by average linkage.

    Source: the released code's refinement. It makes every label but the first anew, also where
    all its layers still agree; here a vector that nobody leaves stays what it was.

    Raises:
        PlanError: the evidence says nothing about coefficients that are shared.
    """
    known = {(bank.group, bank.bank): bank for bank in evidence.banks}
    found = []
    for group in groups:
        owners = {}
        for index in range(len(group.banks)):
            if is_tied(group, index):
                readers, said = readers_of_bank(group, index), known.get((group.name, index))
                owners[index] = _split(group, index, readers, said, threshold)
        found.append(with_owners(group, owners))
    return tuple(found)


def _split(
    group: Group,
    index: int,
    readers: Sequence[int],
    known: BankAgreement | None,
    threshold: float,
) -> list[int]:
    """Return for each reader the first of those that it shares coefficients with."""
    names = tuple((group.slots[slot].network, group.slots[slot].layer) for slot in readers)
    if known is None or known.layers != names:
        raise PlanError(f"the evidence does not say how the readers of {group.name} agree")
    cosine: NDArray[np.float64] = np.array(known.cosine, dtype=np.float64)
    together: dict[int | None, list[int]] = defaultdict(list)
    for reader, slot in enumerate(readers):
        together[group.slots[slot].rows[index]].append(reader)
    label = {}
    for members in together.values():
        for cluster in agreeing(cosine[np.ix_(members, members)], threshold):
            label.update({members[i]: members[cluster[0]] for i in cluster})
    return [label[reader] for reader in range(len(readers))]
