"""Puts the hidden units of blocks in an order in which blocks of one shape agree."""

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from npas.plans import LayerKey
from npas.sharing.alignment.assignment import assignment
from npas.sharing.alignment.hidden import HiddenUnits, Place, hidden_units


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """Hidden units of one of several networks.

    Attributes:
        network: its name.
        state: parameters and statistics of the network.
        hidden: which units, and where they are.
    """

    network: str
    state: Mapping[str, Tensor]
    hidden: HiddenUnits

    def keys(self) -> set[LayerKey]:
        """Return the tensors that move with the units."""
        return {(self.network, place.name) for place in self.hidden.places}

    def rows(self, place: Place) -> Tensor:
        """Return what makes or reads the units, one row for each, float64."""
        units, tensor = self.hidden.units, self.state[place.name].detach()
        split = tensor.double().movedim(place.dim, 0).reshape(place.outer, units, -1)
        return split.movedim(1, 0).reshape(units, -1)

    def likeness(self, other: "_Block") -> Tensor:
        """Return inner products of another block's units, one a row, and of the own ones (N, N).

        Of the two weights, those count that have one shape in both blocks.
        """
        found = torch.zeros(self.hidden.units, self.hidden.units, dtype=torch.float64)
        for mine, theirs in (
            (self.hidden.makes, other.hidden.makes),
            (self.hidden.reads, other.hidden.reads),
        ):
            if self.state[mine.name].shape == other.state[theirs.name].shape:
                found += (other.rows(theirs) @ self.rows(mine).T).cpu()
        return found

    def reorder(self, order: Tensor) -> None:
        """Put the units in another order, with all that moves with them."""
        with torch.no_grad():
            for place in self.hidden.places:
                tensor = self.state[place.name]
                index = torch.arange(tensor.shape[place.dim]).view(
                    place.outer, self.hidden.units, place.inner
                )
                moved = index[:, order].reshape(-1).to(tensor.device)
                tensor.copy_(tensor.index_select(place.dim, moved))


def align(
    networks: Mapping[str, nn.Module],
    fitted: Collection[LayerKey],
    fixed: Collection[LayerKey] = (),
) -> int:
    """Put hidden units of networks in an order in which blocks of one shape agree, in place.

    Exact: outputs are the same, but for the order in which sums are rounded. Blocks whose units
    are read by weights of one shape are gone through in their order, and each is put in the order
    in which it is nearest to the one before, by the sum of squared differences of the weights
    that make the units and of those that read them.

    Args:
        networks: by name, dense.
        fitted: (network, parameter) that banks will be fitted to; units that none of them makes
            or reads stay where they are.
        fixed: (network, parameter) that must not change.

    Returns:
        how many blocks changed; 0 where there is nothing to align.
    """
    count = 0
    for blocks in _classes(_blocks(networks)):
        for before, block in itertools.pairwise(blocks):
            weights = {(block.network, p.name) for p in (block.hidden.makes, block.hidden.reads)}
            if weights.isdisjoint(fitted) or not block.keys().isdisjoint(fixed):
                continue
            order = torch.from_numpy(assignment(block.likeness(before).numpy()))
            if not torch.equal(order, torch.arange(len(order))):
                block.reorder(order)
                count += 1
    return count


def _blocks(networks: Mapping[str, nn.Module]) -> Iterable[_Block]:
    for name, network in networks.items():
        state = network.state_dict(keep_vars=True)
        for hidden in hidden_units(network):
            yield _Block(network=name, state=state, hidden=hidden)


def _classes(blocks: Iterable[_Block]) -> list[list[_Block]]:
    """Return blocks whose units are as many and are read by weights of one shape together."""
    found: dict[tuple[int, ...], list[_Block]] = {}
    for block in blocks:
        shape = tuple(block.state[block.hidden.reads.name].shape)
        found.setdefault((block.hidden.units, *shape), []).append(block)
    return list(found.values())
