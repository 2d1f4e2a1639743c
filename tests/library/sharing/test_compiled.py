"""Shared networks under `torch.compile`: one graph a network, made once.

Most use the backend that runs a graph's operations as they are: what breaks and what is made anew
is found out before any backend.
"""

import copy
import itertools

import npas
import pytest
import torch
import torch.distributed
from npas.sharing.graphs import composed_outside
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec
from torch._dynamo.utils import counters
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

pytestmark = [
    pytest.mark.slow,
    # The compiler hides this warning of its own, which an error cannot be.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),
]
X = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(4)
LAYERS = [
    {"kind": "conv", "channels": 8},
    {"kind": "conv", "channels": 8},
    {"kind": "conv", "channels": 8},
    {"kind": "pool", "function": "global"},
    {"kind": "linear"},
]
SMALL = ArchitectureSpec(
    name="declared", layers=LAYERS, input_channels=3, input_size=16, num_classes=10
)

PAIR = [
    NetworkSpec(name=name, architecture=ArchitectureSpec(name=name))
    for name in ("wrn-10-1", "wrn-16-1")
]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def made(method, architecture="wrn-10-1", fraction=0.75):
    plan = npas.plan(architecture, method=method, budget=BudgetSpec(fraction=fraction))
    networks = {each.name: npas.build(each.architecture, seed=1) for each in plan.networks}
    return npas.share(networks, plan, seed=1)


def compiled(model):
    return torch.compile(model, backend="aot_eager")


def losses(model, compiled_model, kind, x=X, *, is_half=False):
    """Train for six steps, the last four of which must not compile anything.

    Autocast keeps what it has cast until its end, so that it covers one forward pass at a time.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, **{kind: True})
    found = []
    for step in range(6):
        with torch.compiler.set_stance("default" if step < 2 else "fail_on_recompile"):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                loss = F.cross_entropy(compiled_model(x), Y)
            loss.backward()
            optimizer.step()
        found.append(loss.item())
    return found


def num_breaks():
    return sum(counters["graph_break"].values())


@pytest.mark.parametrize("method", ["soft_sharing", "ssn", "superweights", "block_mix"])
def test_compiled_training_is_that_of_the_network(method):
    """Losses agree to 1e-5 of them: the compiler takes some operations apart."""
    model = made(method, "wrn-16-1" if method == "soft_sharing" else "wrn-10-1")
    twin = copy.deepcopy(model)
    fast = compiled(model)
    for kind in ("fused", "foreach"):
        found, wanted = losses(model, fast, kind), losses(twin, twin, kind)
        assert found == pytest.approx(wanted, rel=1e-5)
        assert found[-1] < found[0]
    assert num_breaks() == 1 <= len(model.plan.groups)
    assert counters["stats"]["unique_graphs"] == 1


def test_compiled_network_reads_the_banks_as_they_are():
    model = made("superweights")
    fast, before = compiled(model), copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, fused=True)
    fast(X).square().mean().backward()
    seen = []

    def check():
        with torch.no_grad():
            seen.append(fast(X))
            torch.testing.assert_close(seen[-1], copy.deepcopy(model)(X))

    model.eval()
    check()
    optimizer.step()
    check()
    with torch.compiler.set_stance("fail_on_recompile"):
        model.load_state_dict(before)
        check()
        with torch.no_grad():
            next(model.groups.parameters()).mul_(1.5)
        check()
        fast.eval()
        check()
    assert torch.equal(seen[3], seen[4])
    assert not any(torch.allclose(*pair) for pair in itertools.pairwise(seen[:4]))


def test_several_networks_are_compiled_with_one_break():
    model = made("superweights", PAIR, 0.4).eval()
    fast = compiled(model)
    found = fast(X)
    assert found.keys() == set(model.network_names)
    torch.testing.assert_close(found, model(X))
    assert num_breaks() == 1


def test_compiled_network_under_autocast_and_channels_last():
    """Numbers of bfloat16 agree to 2 of its steps, 2**-7 each."""
    model = made("block_mix").to(memory_format=torch.channels_last)
    x, twin, fast = X.to(memory_format=torch.channels_last), copy.deepcopy(model), compiled(model)
    found = losses(model, fast, "fused", x, is_half=True)
    wanted = losses(twin, twin, "fused", x, is_half=True)
    assert found == pytest.approx(wanted, rel=2**-6)
    assert num_breaks() == 1


@pytest.mark.parametrize("format_", [torch.contiguous_format, torch.channels_last])
def test_generated_code_trains_as_the_network_does(format_):
    """Losses agree to 1e-5 of them: generated code adds up in another order."""
    model = made("superweights", SMALL).to(memory_format=format_)
    x, twin = X.to(memory_format=format_), copy.deepcopy(model)
    found, wanted = losses(model, torch.compile(model), "fused", x), losses(twin, twin, "fused", x)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 1


def test_distributed_network_can_be_compiled(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        model = made("superweights", SMALL)
        twin = copy.deepcopy(model)
        wrapped = DistributedDataParallel(model)
        fast = compiled(wrapped)
        assert losses(model, fast, "fused") == pytest.approx(losses(twin, twin, "fused"), rel=1e-5)
    finally:
        torch.distributed.destroy_process_group()


def test_full_graph_is_refused_with_advice():
    model = made("superweights", SMALL)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="leave fullgraph out"):
        torch.compile(model, backend="eager", fullgraph=True)(X)
    composed_outside(model)
    network = torch.compile(model.network("main"), backend="eager", fullgraph=True)
    torch.testing.assert_close(network(X), model(X))
