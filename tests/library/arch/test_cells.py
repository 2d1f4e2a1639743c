"""Networks of published cells: their sizes, their wiring, and that they share."""

import npas
import pytest
import torch
from npas import arch, registry
from npas.arch.families._cell_modules import OPERATIONS, Halved, MaxPool
from npas.arch.families._genotypes import GENOTYPES
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.spec import ArchitectureSpec, BudgetSpec
from torch import nn

pytestmark = pytest.mark.slow

every_genotype = pytest.mark.parametrize("name", GENOTYPES)
SMALL = {"channels": 4, "cells": 5}


def images(size=8, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_darts_has_the_size_its_code_prints():
    """Liu et al.: 3.3M; the released code prints 3.349342MB, without the auxiliary head."""
    assert npas.plan("cells:darts", method="dense").ledger.total == 3_349_342


@pytest.mark.parametrize(("name", "millions"), [("nasnet-a", 3.3), ("amoebanet-b", 2.8)])
def test_cells_stacked_as_in_their_paper_have_its_size(name, millions):
    """Zoph et al.: NASNet-A (6 @ 768) for CIFAR-10; Real et al.: AmoebaNet-B (6, 36)."""
    found = npas.plan(f"cells:{name}", method="dense").ledger.total / 1_000_000
    assert round(found, 1) == millions


def test_nasnet_ends_in_768_channels():
    assert npas.build("cells:nasnet-a", device="meta").fc.in_features == 768


@every_genotype
@pytest.mark.parametrize("kind", ["normal", "reduction"])
def test_cell_wastes_no_state(name, kind):
    blocks, outputs = getattr(GENOTYPES[name], kind)
    read = set()
    for number, block in enumerate(blocks):
        for operation, source in block:
            assert operation in OPERATIONS
            assert source < number + 2
            read.add(source)
    made = set(range(2, 2 + len(blocks)))
    assert made - read <= set(outputs) <= made | {0, 1}
    assert list(outputs) == sorted(set(outputs))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("size", [3, 4, 7, 8])
def test_operations_keep_channels_and_halve_rounded_up(operation, size):
    x = torch.randn(2, 6, size, size)
    for stride, wanted in ((1, size), (2, -(-size // 2))):
        assert OPERATIONS[operation](6, stride)(x).shape == (2, 6, wanted, wanted)


def test_halved_reads_every_place():
    module = Halved(1, 2)
    nn.init.ones_(module.even.weight)
    nn.init.ones_(module.odd.weight)
    module.norm.eval()
    x = torch.arange(1.0, 17).view(1, 1, 4, 4)
    found = module(x) * (1 + module.norm.eps) ** 0.5
    torch.testing.assert_close(found[0, 0], x[0, 0, ::2, ::2])
    torch.testing.assert_close(found[0, 1], x[0, 0, 1::2, 1::2])


def test_even_window_takes_no_zero_for_a_maximum():
    assert (MaxPool(2, 1)(-torch.ones(1, 1, 3, 3)) == -1).all()


@every_genotype
def test_images_of_any_size_run(name):
    network = npas.build(ArchitectureSpec(name=f"cells:{name}", options=SMALL)).eval()
    for size in (4, 5, 7, 8):
        assert network(images(size)).shape == (2, 10)


PAIRS = [("nasnet-a", method) for method in registry.names("npas.methods")]
PAIRS += [(name, "block_mix") for name in GENOTYPES if name != "nasnet-a"]


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_cells_are_shared_trained_and_saved(name, method, tmp_path, recount):
    spec = ArchitectureSpec(name=f"cells:{name}", options=SMALL, input_size=8)
    try:
        plan = npas.plan(spec, budget=BudgetSpec(fraction=0.5), method=method)
    except InfeasibleBudgetError as error:
        plan = npas.plan(spec, budget=error.minimum, method=method)
    shared = npas.share(npas.build(plan.networks[0].architecture, seed=1), plan)
    assert recount(shared) == plan.ledger.total <= plan.ledger.budget
    shared(images()).square().sum().backward()
    assert all(p.grad is not None for p in shared.parameters())
    npas.save(shared, tmp_path / "file")
    with torch.no_grad():
        assert torch.equal(npas.load(tmp_path / "file")(images()), shared.eval()(images()))


def test_layers_have_the_roles_of_their_place():
    spec = ArchitectureSpec(name="cells:darts", options=SMALL)
    table = arch.layer_table(npas.plan(spec, method="dense").networks)
    found = {layer.name: (layer.role, layer.stage) for layer in table.layers}
    assert found["conv.weight"] == ("stem", "stem")
    assert found["cells.0.input1.1.weight"] == ("transition", "stage 1")
    assert found["cells.0.operations.0.1.weight"] == ("body", "stage 1")
    assert found["cells.2.input0.even.weight"] == ("transition", "stage 2")
    assert found["cells.4.operations.0.1.weight"] == ("body", "stage 3")
    assert found["fc.weight"] == ("classifier", "classifier")
    assert {layer.kind for layer in table.layers} == {"conv2d", "depthwise", "linear"}


@pytest.mark.parametrize("options", [{"cells": 1}, {"cells": 201}, {"channels": 0}, {"width": 2}])
def test_sizes_that_are_not_possible_are_refused(options):
    with pytest.raises(InvalidSpecError) as caught:
        npas.plan(ArchitectureSpec(name="cells:darts", options=options))
    assert caught.value.field == f"/architecture/options/{next(iter(options))}"
