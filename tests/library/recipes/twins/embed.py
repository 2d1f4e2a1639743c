"""As the twin of `slice`, with alpha = c phi W + d b for the layers that mix windows.

phi are the layer's own scalars of the first bank's coefficients. The second bank holds, for each
number K of windows in ascending order, b (K) and then W (embedding, K), row by row.
"""

import math
import runpy
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from npas.plans import Bank
from npas.plans.windows import reading
from npas.testing import Twin, gain_of, group_of

SLICE = runpy.run_path(str(Path(__file__).with_name("slice.py")))
SIDE = st.integers(1, 5)
KERNEL = st.sampled_from([(), (2,), (1, 1), (3, 3)])


def windows_of(shape, bank, settings):
    """Return how many windows a layer mixes."""
    size = math.prod(shape)
    return min(math.ceil(bank / size), settings["max_windows"]) if size <= bank else 1


def scales(group, layers, windows):
    """Return the factors of phi W and of b: 1 where the group has no row length r.

    The first brings alpha to length 1 where W has the deviation 2 r / sqrt(windows) and phi
    sqrt(E) times that length; the second is 1 / (r sqrt(2 layers)).
    """
    r = group.row_length
    if r is None:
        return 1.0, 1.0
    of_map = 2 * r / math.sqrt(windows)
    of_phi = of_map * math.sqrt(group.banks[1].shape[0])
    return 1 / (of_map * of_phi * math.sqrt(windows)), 1 / (r * math.sqrt(2 * layers))


def weights(group, templates, coefficients):
    """Return the weights of all slots."""
    bank, maps = group.banks
    counts = [windows_of(slot.shape, bank.size, group.settings) for slot in group.slots]
    own, first, found, at, place = coefficients[0][:, 0], 0, [], {}, 0
    for count in sorted(set(counts) - {1}):
        b = templates[1][0, place : place + count]
        W = templates[1][0, place + count : place + count * (maps.shape[0] + 1)]
        at[count] = (W.reshape(maps.shape[0], count), b)
        place += count * (maps.shape[0] + 1)
    for slot, count in zip(group.slots, counts, strict=True):
        if count > 1:
            phi = own[first : first + maps.shape[0]]
            mix, bias = scales(group, counts.count(count), count)
            alphas = mix * (phi @ at[count][0]) + bias * at[count][1]
            first += maps.shape[0]
        else:
            number = reading(slot.shape, bank.size, **group.settings).coefficients
            alphas = own[first : first + number] / (group.row_length or 1)
            first += number
        W, power = SLICE["one"](slot, bank, templates[0][0], alphas, group.settings)
        gain = gain_of(group, bank, slot, mixed=False) / math.sqrt(power)
        found.append((gain * np.asarray(W)).reshape(slot.shape))
    return found


@st.composite
def groups(draw):
    """Layers of which some mix windows; a bank that is read to the end."""
    settings = {
        "upsample": draw(st.sampled_from(["interpolate", "repeat", "mask", "wavg"])),
        "max_windows": draw(st.integers(2, 4)),
    }
    shape = st.builds(lambda o, i, kernel: (o, i, *kernel), SIDE, SIDE, KERNEL)
    shapes = [*draw(st.lists(shape, max_size=3)), draw(shape)]
    largest = max(shapes, key=math.prod)
    least = max(math.prod(s[2:]) for s in shapes)
    sizes = [
        size
        for size in range(least, settings["max_windows"] * math.prod(largest) + 1)
        if any(reading(s, size, **settings).span == size for s in shapes)
        and any(windows_of(s, size, settings) > 1 for s in shapes)
    ]
    size, embedding = draw(st.sampled_from(sizes)), draw(st.integers(1, 4))
    counts = [windows_of(s, size, settings) for s in shapes]
    own = [
        embedding if count > 1 else reading(s, size, **settings).coefficients
        for s, count in zip(shapes, counts, strict=True)
    ]
    maps = sum(count * (embedding + 1) for count in set(counts) - {1})
    made_of = [
        Bank(shape=draw(st.sampled_from(shapes)), size=size, templates=1, rows=sum(own)),
        Bank(shape=(embedding, 1), size=maps, templates=1, rows=0),
    ]
    rows = [[sum(own[:i]), 0 if counts[i] > 1 else None] for i in range(len(shapes))]
    return group_of("embed", made_of, shapes, rows, **settings)


TWIN = Twin(weights=weights, groups=groups())
