"""Average-linkage agglomeration of layers by agreement: deterministic, and it always ends.

The founding code re-labels one layer of the most similar pair at a time: the two may end in
different groups, and its loop may never reach the budget. Merging whole groups does reach one
group per kernel class.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from npas.arch.layers import Layer
from npas.errors import PlanError
from npas.methods._parts import Layers
from npas.plans.evidence import Evidence


def cosines(layers: Sequence[Layer], evidence: Evidence) -> NDArray[np.float64]:
    """Return the agreement of all pairs; NaN where the evidence says nothing (other class)."""
    index = {layer.key: i for i, layer in enumerate(layers)}
    cosines = np.full((len(layers), len(layers)), np.nan)
    for similarity in evidence.classes:
        # A layer that is in the evidence but private now is left out.
        rows = [index.get(name, -1) for name in similarity.layers]
        kept = [i for i, row in enumerate(rows) if row >= 0]
        if not kept:
            continue
        at = [rows[i] for i in kept]
        matrix = np.array(similarity.cosine, dtype=np.float64)[np.ix_(kept, kept)]
        cosines[np.ix_(at, at)] = np.nan_to_num(matrix)
    if np.isnan(np.diagonal(cosines)).any():
        lost = layers[int(np.isnan(np.diagonal(cosines)).argmax())]
        raise PlanError(
            f"the evidence says nothing about {lost.network}/{lost.name}: measure it on the "
            "networks to plan, or leave evidence out"
        )
    return cosines


def energies(layers: Sequence[Layer], evidence: Evidence) -> dict[Layer, float]:
    """Return the squared length of every layer's gradient; nothing where it was not measured."""
    found = {
        name: energy
        for similarity in evidence.classes
        for name, energy in zip(similarity.layers, similarity.energy, strict=False)
    }
    names = {layer: layer.key for layer in layers}
    if not all(name in found for name in names.values()):
        return {}
    return {layer: found[name] for layer, name in names.items()}


class Clusters:
    """Items that merge two by two, by average linkage.

    Attributes:
        nodes: ascending indices of each cluster, in the order of their first ones; an empty list
            where a cluster has gone into an earlier one.
    """

    def __init__(self, cosine: NDArray[np.float64]) -> None:
        """Start with every item alone.

        Args:
            cosine: symmetric (N, N) matrix.
        """
        self.nodes = [[i] for i in range(len(cosine))]
        self._sums, self._counts = cosine.copy(), np.ones(len(cosine))
        self._is_alive = np.ones(len(cosine), dtype=bool)

    def nearest(self, side: NDArray[np.int_]) -> tuple[int, int, float] | None:
        """Return the pair of clusters that agrees most, and its mean cosine; None of no pair.

        Args:
            side: (N,), which side of a border each item stands on; none of the pairs crosses it.
        """
        allowed = (side[:, None] == side[None, :]) & np.outer(self._is_alive, self._is_alive)
        allowed = np.triu(allowed, k=1)
        if not allowed.any():
            return None
        means = np.where(allowed, self._sums / np.outer(self._counts, self._counts), -math.inf)
        # argmax takes the first of equals: the tie-break is the order of the items.
        i, j = np.unravel_index(int(means.argmax()), means.shape)
        return int(i), int(j), float(means[i, j])

    def merge(self, i: int, j: int) -> None:
        """Let cluster j go into cluster i, which comes first."""
        self.nodes[i], self.nodes[j] = sorted(self.nodes[i] + self.nodes[j]), []
        self._sums[i, :] += self._sums[j, :]
        self._sums[:, i] += self._sums[:, j]
        self._counts[i] += self._counts[j]
        self._is_alive[j] = False


def agreeing(cosine: NDArray[np.float64], threshold: float) -> list[list[int]]:
    """Return the clusters, by average linkage, of which no two agree more than the threshold.

    Args:
        cosine: symmetric (N, N) matrix.
        threshold: -1 to 1.

    Returns:
        Ascending indices, the clusters in the order of their first ones.
    """
    clusters, anywhere = Clusters(cosine), np.zeros(len(cosine), dtype=int)
    while (pair := clusters.nearest(anywhere)) is not None and pair[2] > threshold:
        clusters.merge(*pair[:2])
    return [node for node in clusters.nodes if node]


def merges(
    layers: Sequence[Layer], bins: Sequence[Layers], evidence: Evidence
) -> Iterator[tuple[list[Layers], float]]:
    """Yield every partition from single layers to one group per kernel class.

    Pairs inside one depth bin come first; when none is left, pairs of one kernel class.

    Args:
        layers: all layers that may share.
        bins: the depth bins; each holds one kernel class.
        evidence: agreement of every pair of one kernel class.

    Yields:
        The partition, each part in the order of `layers`, and the agreement of its next merge:
        the mean cosine of the pair that would merge next, -inf when none is left. Merges over
        the border of bins count as -inf too: they are only for budgets.
    """
    bin_of = {layer: i for i, part in enumerate(bins) for layer in part}
    classes = sorted({layer.kernel_class for layer in layers})
    clusters = Clusters(np.nan_to_num(cosines(layers, evidence)))
    bin_ids = np.array([bin_of[layer] for layer in layers], dtype=int)
    class_ids = np.array([classes.index(layer.kernel_class) for layer in layers], dtype=int)
    for border in (bin_ids, class_ids):
        # A merged node carries the bin of its first layer; all its layers have the same one.
        while (pair := clusters.nearest(border)) is not None:
            first, second, agreement = pair
            yield _parts(layers, clusters.nodes), agreement if border is bin_ids else -math.inf
            clusters.merge(first, second)
    yield _parts(layers, clusters.nodes), -math.inf


def nearest_groups(layers: Layers, evidence: Evidence, count: int) -> list[Layers]:
    """Return at most some groups of layers of any class, by average linkage.

    Args:
        layers: all layers that may share.
        evidence: agreement of every pair; of pairs it leaves out, none.
        count: most groups, at least 1.
    """
    for partition, _ in merges(layers, [tuple(layers)], evidence):
        if len(partition) <= count:
            return partition
    return []


def _parts(layers: Sequence[Layer], nodes: Sequence[Sequence[int]]) -> list[Layers]:
    return [tuple(layers[i] for i in node) for node in nodes if node]
