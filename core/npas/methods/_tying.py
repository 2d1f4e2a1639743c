"""Layers that start with the same coefficients, and which of them part."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from npas.arch.layers import Layer
from npas.errors import PlanError
from npas.methods._linkage import agreeing, cosines
from npas.plans import Group
from npas.plans.evidence import BankAgreement, CoefficientAgreement, Evidence

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
        rows = [list(slot.rows) for slot in group.slots]
        banks = []
        for index, bank in enumerate(group.banks):
            readers = [s for s, slot in enumerate(group.slots) if slot.rows[index] is not None]
            if 0 < bank.rows < len(readers):
                new = _split(group, index, readers, known.get((group.name, index)), threshold)
                for slot, row in zip(readers, new, strict=True):
                    rows[slot][index] = row
                bank = bank.model_copy(update={"rows": max(new) + 1})
            banks.append(bank)
        slots = zip(group.slots, rows, strict=True)
        parts = tuple(slot.model_copy(update={"rows": tuple(row)}) for slot, row in slots)
        found.append(group.model_copy(update={"banks": tuple(banks), "slots": parts}))
    return tuple(found)


def _split(
    group: Group,
    index: int,
    readers: Sequence[int],
    known: BankAgreement | None,
    threshold: float,
) -> list[int]:
    """Return the new row of each reader, numbered in the order of the readers."""
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
    rows = {first: row for row, first in enumerate(dict.fromkeys(label[i] for i in sorted(label)))}
    return [rows[label[reader]] for reader in range(len(readers))]
