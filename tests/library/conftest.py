"""Layer tables out of thin air, and the counting that every law is checked with."""

import collections
import math

import pytest
import torch
from hypothesis import strategies as st
from npas.arch.layers import Layer, LayerTable
from npas.evidence import Evidence, Similarity

torch.set_num_threads(1)

ROLES = ("stem", "body", "body", "body", "transition", "shortcut", "classifier")
KERNELS = ((), (1, 1), (3, 3), (3, 1), (2, 2, 2))
KINDS = {0: "linear", 2: "conv2d", 3: "conv3d"}


@st.composite
def tables(draw, max_layers=14, max_side=9):
    """Layers of one to three networks: few shapes, so that some nest, some repeat, some do not."""
    side = st.integers(1, max_side)
    boxes = draw(st.lists(st.tuples(side, side), min_size=1, max_size=5))
    kernels = draw(st.lists(st.sampled_from(KERNELS), min_size=1, max_size=2))
    layers = []
    for network in "abc"[: draw(st.integers(1, 3))]:
        for index in range(draw(st.integers(1, max_layers))):
            kernel = draw(st.sampled_from(kernels))
            kind = "grouped" if kernel and draw(st.integers(0, 9)) == 0 else KINDS[len(kernel)]
            layers.append(
                Layer(
                    network=network,
                    name=f"{index}.weight",
                    kind=kind,
                    shape=(*draw(st.sampled_from(boxes)), *kernel),
                    role=draw(st.sampled_from(ROLES)),
                    stage=f"stage {index // 4}",
                )
            )
    return LayerTable(layers=tuple(layers), others=draw(st.integers(0, 100)))


@st.composite
def evidences(draw, table):
    """Agreement of every pair of one kernel class: symmetric, 1 on the diagonal."""
    classes = collections.defaultdict(list)
    for layer in table.layers:
        classes[layer.kernel_class].append((layer.network, layer.name))
    found = []
    for names in classes.values():
        size = len(names)
        values = iter(draw(st.lists(st.floats(-1, 1), min_size=size**2, max_size=size**2)))
        rows = [[next(values) for _ in names] for _ in names]
        cosine = [
            [1.0 if i == j else rows[min(i, j)][max(i, j)] for j in range(size)]
            for i in range(size)
        ]
        found.append(Similarity(layers=tuple(names), cosine=tuple(map(tuple, cosine))))
    return Evidence(batches=1, classes=tuple(found))


st.register_type_strategy(LayerTable, tables())


@pytest.fixture(scope="session")
def evidence_for():
    """Return the strategy for evidence about a table."""
    return evidences


def _recount(module):
    storages = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            memory = parameter.untyped_storage()
            assert memory.nbytes() == parameter.numel() * parameter.element_size()
            storages[memory.data_ptr()] = parameter.numel()
    return sum(storages.values())


@pytest.fixture(scope="session")
def recount():
    """Count trainable scalars, each storage once: the other way than the library's own count."""
    return _recount


def _covers(table, groups, private):
    """Check that slots and private layers are the table's layers, each once, shapes exact."""
    found = [(s.network, s.layer, s.shape) for group in groups for s in group.slots]
    found += [(p.network, getattr(p, "layer", None) or p.name, p.shape) for p in private]
    assert sorted(found) == sorted((la.network, la.name, la.shape) for la in table.layers)


@pytest.fixture(scope="session")
def covers():
    """Check that every layer of a table is covered once."""
    return _covers


def _scalars(groups, private, others):
    """Count from shapes alone."""
    banks = [bank for group in groups for bank in group.banks]
    stored = sum(bank.templates * bank.size + bank.templates * bank.rows for bank in banks)
    return others + stored + sum(math.prod(layer.shape) for layer in private)


@pytest.fixture(scope="session")
def scalars():
    """Count the trainable scalars of an allocation from its shapes."""
    return _scalars
