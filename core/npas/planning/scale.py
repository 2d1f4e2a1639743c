"""At what scale banks start, so that what reads them moves as far in a step as it would alone.

A weight is its bank times a gain, and under plain gradient descent a gain counts twice: once in
the gradient of the bank, once in what a step of the bank does to the weight. A scalar that R
weights read also gets R gradients, which add up like a random walk, or to somewhat more, since
they agree a little. So where the deviation of a bank is s and those of its readers are t, a step
moves the readers sqrt(R) t^2 / s^2 times as far as it would move them alone, or up to twice that.
`at_scale` takes s^2 = (2 sqrt(R) - 1) t^2, with the mean of t over the weights.

A step of coefficients moves a weight by its gradient as far as K templates of D scalars span it,
times their length squared: with rows of length 1, t^2 sqrt(K D) times as far as alone, or up to
twice that. Rows of length r, with a gain that takes r out again, move it 1 / r^2 as far.

docs/decisions/0012 has what was measured.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from npas.arch.layers import Layer
from npas.plans import Group, LayerKey, rounded


def at_scale(groups: Iterable[Group], layers: Sequence[Layer]) -> tuple[Group, ...]:
    """Return groups that say at what deviation their layers and their templates start.

    Args:
        groups: of a method's allocation.
        layers: that the groups are of.
    """
    known = {layer.key: layer.deviation for layer in layers}
    return tuple(_at_scale(group, known) for group in groups)


def _at_scale(group: Group, known: Mapping[LayerKey, float | None]) -> Group:
    slots = tuple(
        slot.model_copy(update={"deviation": known[slot.network, slot.layer]})
        for slot in group.slots
    )
    sizes = [math.prod(slot.shape) for slot in slots]
    num_readers = sum(sizes) / sum(bank.num_template_scalars for bank in group.banks)
    pairs = list(zip(sizes, (slot.start_deviation for slot in slots), strict=True))
    mean = sum(size * deviation for size, deviation in pairs) / sum(sizes)
    variance = sum(size * deviation**2 for size, deviation in pairs) / sum(sizes)
    deviation = mean * math.sqrt(2 * math.sqrt(max(1.0, num_readers)) - 1)
    spanned = max(bank.num_template_scalars for bank in group.banks)
    by_coefficients = 2 * variance * math.sqrt(spanned)
    length = math.sqrt(max(1.0, by_coefficients))
    said = {"deviation": rounded(deviation), "row_length": rounded(length)}
    return group.model_copy(update={"slots": slots, **said})
