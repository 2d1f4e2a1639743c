"""Every kind of layer: it is seen, shared, trained, copied, and made plain again."""

import copy

import pytest
import torch
from npas import methods
from npas.arch.layers import KINDS, tabulate, without_embeddings
from npas.plans import Ledger, Plan, PrivateLayer
from npas.sharing.model import shared as made_shared
from npas.spec import MethodSpec, NetworkSpec
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
"""Torch says that it computes these without oneDNN."""


class Repeated(nn.Module):
    """Reads its input through some modules of one kind in turn, then adds up what they say."""

    def __init__(self, *modules, reads=lambda module, x: module(x)):
        super().__init__()
        self.parts, self.reads = nn.ModuleList(modules), reads

    def forward(self, x):
        for part in self.parts:
            x = self.reads(part, x)
        return x


class Cells(nn.Module):
    """A recurrent cell, called once per step."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = None
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return state[0] if isinstance(state, tuple) else state


def first(module, x):
    return module(x)[0]


def attend(module, x):
    return module(x, x[..., : module.kdim], x[..., : module.vdim])[0]


def several(make, count=3, **keywords):
    return lambda: Repeated(*(make() for _ in range(count)), **keywords)


IMAGES, SEQUENCES = (2, 8, 6, 6), (2, 5, 8)
CASES = {
    "conv1d": (several(lambda: nn.Conv1d(8, 8, 3, padding=1)), (2, 8, 7)),
    "conv2d": (several(lambda: nn.Conv2d(8, 8, 3, padding=2, dilation=2)), IMAGES),
    "conv3d": (several(lambda: nn.Conv3d(8, 8, 3, padding=1)), (2, 8, 3, 4, 5)),
    "grouped": (several(lambda: nn.Conv2d(8, 8, 3, padding=1, groups=2)), IMAGES),
    "depthwise": (several(lambda: nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)), IMAGES),
    "transposed1d": (several(lambda: nn.ConvTranspose1d(8, 8, 3, stride=2)), (2, 8, 4)),
    "transposed2d": (several(lambda: nn.ConvTranspose2d(8, 8, 3, stride=2)), IMAGES),
    "transposed3d": (several(lambda: nn.ConvTranspose3d(8, 8, 3)), (2, 8, 2, 2, 2)),
    "transposed_grouped": (several(lambda: nn.ConvTranspose2d(8, 8, 2, groups=4)), IMAGES),
    "linear": (several(lambda: nn.Linear(8, 8)), SEQUENCES),
    "attention": (
        several(
            lambda: nn.MultiheadAttention(8, 2, batch_first=True), reads=lambda m, x: m(x, x, x)[0]
        ),
        SEQUENCES,
    ),
    "attention of three widths": (
        several(
            lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True), reads=attend
        ),
        SEQUENCES,
    ),
    "lstm": (several(lambda: nn.LSTM(8, 8, 2, batch_first=True), 1, reads=first), SEQUENCES),
    "lstm in both directions": (
        several(lambda: nn.LSTM(8, 4, 2, bidirectional=True, batch_first=True), 2, reads=first),
        SEQUENCES,
    ),
    "lstm with projection": (
        several(lambda: nn.LSTM(8, 12, 3, proj_size=8, batch_first=True), 1, reads=first),
        SEQUENCES,
    ),
    "gru": (
        several(lambda: nn.GRU(8, 8, 2, bias=False, batch_first=True), 1, reads=first),
        SEQUENCES,
    ),
    "rnn": (several(lambda: nn.RNN(8, 8, 2, batch_first=True), 1, reads=first), SEQUENCES),
    "lstm cell": (lambda: Cells(nn.LSTMCell(8, 8)), SEQUENCES),
    "gru cell": (lambda: Cells(nn.GRUCell(8, 8)), SEQUENCES),
}
every_case = pytest.mark.parametrize("case", CASES)


def table_of(model, *, embeddings=False):
    table = tabulate({"main": model}, {"main": None}, {"main": 1_000})
    return table if embeddings else without_embeddings(table)


def plan_of(model, method="block_mix", fraction=0.6, **keywords):
    """Plan a module that no family makes: all of it may share."""
    table = table_of(model, **keywords)
    found = methods.find(method)
    options = methods.checked_options(found, MethodSpec(name=method, private=()))
    budget = int(fraction * table.dense)
    allocation = found.allocate(table, budget, options, evidence=None, stage="train")
    banks = [bank for group in allocation.groups for bank in group.banks]
    total = table.others + allocation.num_parameters
    return Plan(
        method=method,
        networks=(NetworkSpec(name="main", architecture="wrn-10-1"),),
        groups=allocation.groups,
        private=tuple(
            PrivateLayer(network=la.network, layer=la.name, shape=la.shape)
            for la in allocation.private
        ),
        ledger=Ledger(
            templates=sum(bank.num_template_scalars for bank in banks),
            coefficients=sum(bank.num_coefficients for bank in banks),
            private=table.others + sum(layer.size for layer in allocation.private),
            total=total,
            dense=table.dense,
            budget=total,
            unused=0,
        ),
        minimum=total,
    )


def shared_of(case, **keywords):
    make, shape = CASES[case]
    torch.manual_seed(1)
    model = make()
    plan = plan_of(model, **keywords)
    assert plan.groups
    return made_shared({"main": model}, plan, seed=3), torch.randn(shape)


@every_case
def test_every_matrix_is_a_layer_of_its_kind(case):
    model = CASES[case][0]()
    table = table_of(model)
    assert case.split()[0] in {layer.kind for layer in table.layers}
    assert {layer.kind for layer in table.layers} <= set(KINDS)
    matrices = {name: p.shape for name, p in model.named_parameters() if p.dim() > 1}
    assert {layer.name: layer.shape for layer in table.layers} == matrices
    assert table.dense == sum(p.numel() for p in model.parameters())


@every_case
def test_forward_reads_the_banks_and_backward_reaches_them(case, recount):
    shared, x = shared_of(case)
    assert recount(shared) == shared.plan.ledger.total < shared.plan.ledger.dense
    loss = shared(x).square().sum()
    loss.backward()
    for name, parameter in shared.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or "bias" in name, name
    torch.optim.SGD(shared.parameters(), lr=1e-4).step()
    with torch.no_grad():
        after = shared(x).square().sum()
    assert after < loss


@every_case
def test_gradients_are_those_of_the_weights_pulled_back(case):
    """Twin: the same network made of plain weights, its gradients compared by finite steps."""
    shared, x = shared_of(case)
    shared, x = shared.double(), x.double()
    shared(x).square().sum().backward()
    templates = next(iter(shared.groups.values())).templates[0]
    direction = torch.randn_like(templates)
    slope = (templates.grad * direction).sum()
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            templates.add_(direction, alpha=sign * 1e-5)
            losses.append(shared(x).square().sum())
            templates.sub_(direction, alpha=sign * 1e-5)
    assert torch.isclose(slope, (losses[0] - losses[1]) / 2e-5, rtol=1e-4)


@every_case
def test_plain_copies_and_reloaded_networks_say_the_same(case):
    shared, x = shared_of(case)
    with torch.no_grad():
        expected = shared(x)
        plain = shared.materialise()["main"]
        # Products of unaligned memory may differ in their last bits.
        assert torch.allclose(plain(x), expected, rtol=1e-4, atol=1e-6)
        other = copy.deepcopy(shared)
        other.load_state_dict({k: v + 0.1 for k, v in shared.state_dict().items()})
        assert not torch.equal(other(x), expected)
        other.load_state_dict(shared.state_dict(), assign=True)
        assert torch.equal(other(x), expected)
        assert torch.equal(shared(x), expected)
    names = {name: p.shape for name, p in CASES[case][0]().named_parameters()}
    assert {name: p.shape for name, p in plain.named_parameters()} == names


@every_case
def test_a_materialised_network_trains_on(case):
    shared, x = shared_of(case)
    plain = shared.materialise()["main"]
    plain(x).square().sum().backward()
    assert all(p.grad is not None for p in plain.parameters())
    with torch.no_grad():
        before = plain(x)
        next(p for p in plain.parameters() if p.dim() > 1).mul_(2)
        assert not torch.equal(plain(x), before)


class Reader(nn.Module):
    """Two tables of vectors, two ways to read them."""

    def __init__(self, **options):
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8, **options), nn.Embedding(20, 8)
        self.head = nn.Linear(8, 20)

    def forward(self, tokens):
        places = self.places(torch.arange(tokens.shape[1]))
        return self.head(self.words(tokens) + places)


def test_embeddings_are_layers_when_asked(recount):
    model = Reader(padding_idx=0)
    assert [layer.kind for layer in table_of(model).layers] == ["linear"]
    asked = table_of(model, embeddings=True)
    assert [layer.kind for layer in asked.layers] == ["embedding", "embedding", "linear"]
    assert asked.dense == table_of(model).dense
    plan = plan_of(model, embeddings=True, fraction=0.8)
    assert {slot.layer for group in plan.groups for slot in group.slots} == {
        "words.weight",
        "places.weight",
    }
    shared = made_shared({"main": model}, plan)
    assert recount(shared) == plan.ledger.total
    shared(torch.tensor([[1, 2, 0]])).sum().backward()
    assert all(p.grad is not None for p in shared.parameters())


@pytest.mark.parametrize("options", [{"sparse": True}, {"max_norm": 1.0}])
def test_embeddings_that_forward_changes_keep_their_own_table(options):
    table = table_of(Reader(**options), embeddings=True)
    assert [layer.name for layer in table.layers] == ["places.weight", "head.weight"]
