"""What `npas.declare` writes down is the module: same answers, same names, or a refusal."""

import copy
import json
import pickle

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch
from npas.arch.graph.ownership import Owners
from npas.errors import UndeclarableError
from npas.spec import ArchitectureSpec
from torch import nn
from torch.nn import functional as F


class Norm(nn.LayerNorm):
    """Normalises channels, as many libraries write it."""

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.table = nn.Parameter(0.02 * torch.randn(49, heads))
        places = torch.arange(16).reshape(4, 4)
        self.register_buffer("places", (places.reshape(-1)[:, None] + places.reshape(-1)) % 49)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        bias = self.table[self.places.view(-1)].view(N, N, -1).permute(2, 0, 1)
        weights = ((q * self.scale) @ k.transpose(-2, -1) + bias.unsqueeze(0)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(B, N, C))


class Custom(nn.Module):
    """Branches, tokens, scales, windows, layers used twice, control flow over sizes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleDict({"a-1": nn.Conv2d(8, 8, 3, 2, 1), "b": nn.Conv2d(8, 8, 1, 2)})
        self.norm, self.attention = Norm(16), Attention(16, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.gamma = nn.Parameter(1e-6 * torch.ones(16))
        self.twice = nn.Linear(16, 16)
        self.rows = nn.GRU(16, 8, batch_first=True, bidirectional=True)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([block(x) for block in self.blocks.values()], 1)
        if x.shape[-1] > 2:
            x = self.norm(x)
        windows = x.view(x.shape[0], 16, 2, 2, 2, 2).transpose(3, 4).reshape(-1, 16, 4)
        x = x + windows.reshape(x.shape[0], 16, 2, 2, 2, 2).transpose(3, 4).reshape(x.shape)
        x = x.flatten(2).mT
        x = x + self.gamma * self.attention(x)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        x = self.twice(F.gelu(self.twice(x)))
        x, _ = self.rows(x)
        x += 1 - torch.sigmoid(x)
        return self.head(self.drop(x[:, 0]))


class Simple(nn.Module):
    """A convolution and a linear layer, and between them what a test says."""

    def __init__(self, between=lambda x, _: x, *, width=4):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 3), nn.Linear(width, 3)
        self.between = between

    def forward(self, x):
        return self.head(self.between(self.conv(x), self).mean((2, 3)))


def images(number=2, size=8, channels=3):
    generator = torch.Generator().manual_seed(number)
    return torch.randn(number, channels, size, size, generator=generator)


def rebuilt(module, spec):
    """The network of a spec, with the weights of a module, in evaluation."""
    network = npas.build(spec, seed=0)
    network.load_state_dict(module.state_dict())
    return network.eval()


def test_custom_module_is_rebuilt_with_its_names_and_answers():
    module = Custom()
    spec = npas.declare(module, (images(),))
    assert (spec.num_classes, spec.input_channels, spec.input_size) == (5, 3, 8)
    network = rebuilt(module, spec)
    assert list(network.state_dict()) != []
    assert network.state_dict().keys() == module.state_dict().keys()
    for number in (1, 2, 7):
        assert torch.equal(network(images(number)), module.eval()(images(number)))


def test_declared_spec_survives_json_and_requests():
    spec = npas.declare(Custom(), images())
    text = spec.model_dump_json(exclude_defaults=True)
    assert ArchitectureSpec.model_validate_json(text) == spec
    assert ArchitectureSpec.model_validate(json.loads(text)) == spec
    assert len(text) < 8_000


def test_declared_module_is_planned_shared_trained_and_loaded(tmp_path):
    spec = npas.declare(Custom(), images())
    plan = npas.plan(spec, budget={"fraction": 0.6})
    kinds = {layer.name: layer.kind for layer in arch.planned_layers(plan)}
    assert kinds["attention.qkv.weight"] == "linear"
    assert kinds["blocks.a-1.weight"] == "conv2d"
    model = npas.share(npas.build(spec, seed=1), plan)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model(images(4)).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    npas.save(model, tmp_path / "model.safetensors")
    loaded = npas.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.eval()(images()), model.eval()(images()))


def test_declaring_leaves_the_module_as_it_was():
    module = Custom()
    module.stem[1].eval()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    state = torch.get_rng_state()
    npas.declare(module, images())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    assert (module.training, module.stem[1].training) == (True, False)
    assert nn.Module.__call__.__qualname__ == "Module._wrapped_call_impl"


def test_starts_are_those_of_the_module():
    module = Custom()
    nn.init.normal_(module.twice.weight, std=0.3)
    nn.init.zeros_(module.stem[1].weight)
    network = npas.build(npas.declare(module, images()), seed=0)
    assert float(network.twice.weight.detach().std()) == pytest.approx(
        0.3, rel=0.2
    )  # of 256 numbers
    assert not network.stem.get_submodule("1").weight.any()
    assert torch.equal(network.gamma, module.gamma)
    assert float(network.stem.get_submodule("0").weight.detach().std()) == pytest.approx(
        0.11, rel=0.2
    )


def test_dropout_matters_while_training_alone():
    module = Custom()
    network = rebuilt(module, npas.declare(module, images()))
    assert torch.equal(network(images()), network(images()))
    assert not torch.equal(network.train()(images()), network(images()))


class DropPath(nn.Module):
    drop_prob, scale_by_keep = 0.5, True

    def forward(self, x):
        if not self.training:
            return x
        return x * torch.rand(len(x), 1, 1, 1).add_(0.5).floor_() / 0.5


def test_paths_are_dropped_while_training():
    class Dropping(Simple):
        def __init__(self):
            super().__init__(lambda x, module: module.path(x))
            self.path = DropPath()

    module = Dropping()
    network = rebuilt(module, npas.declare(module, images()))
    logits = network.train()(images(64).abs())
    dropped = (logits == network.head.bias).all(1).sum()
    assert 12 < int(dropped) < 52  # a coin for each of 64: outside once in ten million


def test_images_of_a_hub_library_give_logits():
    class Answer(Simple):
        def forward(self, pixel_values):
            class Output:
                logits = super(Answer, self).forward(pixel_values)

            return Output()

    module = Answer()
    network = rebuilt(module, npas.declare(module, images()))
    assert torch.equal(network(images()), module.eval()(images()).logits)


def test_rebuilt_network_is_compiled_whole():
    module = Simple(lambda x, _: F.relu(x).chunk(2, 1)[0].repeat(1, 2, 1, 1))
    network = rebuilt(module, npas.declare(module, images()))
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(images()), network(images()))


def test_rebuilt_network_is_copied_and_pickled():
    module = Custom()
    network = rebuilt(module, npas.declare(module, images()))
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        before = network(images())
        assert torch.equal(other(images()), before)
        nn.init.zeros_(other.head.weight)
        assert not torch.equal(other(images()), before)
        assert torch.equal(network(images()), before)


FUNCTIONS = {
    "part overwritten": lambda x, _: _overwritten(x),
    "index of channels": lambda x, _: x[:, torch.tensor([3, 2, 1, 0])],
    "slices": lambda x, _: x[..., 1:-1, ::2][:, None].squeeze(1),
    "in place": lambda x, _: F.relu(x, inplace=True).mul_(2).add_(x),
    "operands": lambda x, _: (2 - x) / (1 + x.abs()) + 1 / (x**2 + 1) - x.neg(),
    "einsum": lambda x, _: torch.einsum("bchw,bdhw->bcd", x, x)[..., None] + x.mean(),
    "pad and roll": lambda x, _: torch.roll(F.pad(x, (1, 2, 0, 1)), (1, -1), dims=(2, 3)),
    "interpolate": lambda x, _: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "attention": lambda x, _: F.scaled_dot_product_attention(x, x, x, dropout_p=0.0),
    "normalize": lambda x, _: F.normalize(x, dim=1) * x.norm(dim=1, keepdim=True),
    "weight of its own": lambda x, m: F.conv2d(x, m.conv.weight[:, :1].repeat(1, 4, 1, 1) * 2),
    "full": lambda x, _: x + torch.zeros(len(x), 1, 1, 1) + x.new_ones(len(x), 4, 1, 1),
    "constant of each image": lambda x, _: (
        x + torch.arange(4.0).repeat(len(x), 1)[..., None, None]
    ),
    "greatest": lambda x, _: x.max(dim=-1, keepdim=True)[0],
    "double": lambda x, _: x.double().cumsum(-1).float(),
    "pools": lambda x, _: F.max_pool2d(x, 2, 1) + F.avg_pool2d(x, (2, 2), 1),
    "batch norm of the input": lambda x, _: F.batch_norm(x, None, None, training=True),
    "instance norm": lambda x, _: F.instance_norm(x),
}


def _overwritten(x):
    x = x.clone()
    x[:, 1] = 3.0
    x[:, 2:].zero_()
    return x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_declared(name):
    module = Simple(FUNCTIONS[name])
    network = rebuilt(module, npas.declare(module, images()))
    assert torch.equal(network(images(5)), module.eval()(images(5)))


def test_dimensions_are_called_dims():
    turned = Simple(lambda x, _: torch.permute(x.flip(2, 3), (0, 1, 3, 2)).flip(dims=(2,)))
    spec = npas.declare(turned, images())
    found = {kind.op: kind.settings for kind in spec.graph.kinds if "dims" in kind.settings}
    assert found.keys() == {"flip", "permute"}
    assert torch.equal(rebuilt(turned, spec)(images(5)), turned.eval()(images(5)))


def test_refused_module_is_left_as_it_was():
    module = nn.Sequential(
        nn.BatchNorm2d(3),
        Simple(lambda x, _: x + x.sum().item()),
    )
    before = {name: each.clone() for name, each in module.state_dict().items()}
    with pytest.raises(UndeclarableError, match="item"):
        npas.declare(module, images())
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    assert module.training


def test_owners_know_modules_by_name():
    module = Custom()
    owners = Owners(module)
    assert owners.modules[id(module.attention.qkv)] == "attention.qkv"
    assert owners.holder_of(module.attention.qkv.weight) is module.attention.qkv
    assert owners.holder_of(module.token) is None


STEPS = {
    "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "norm": lambda: nn.BatchNorm2d(4),
    "group": lambda: nn.GroupNorm(2, 4),
    "act": lambda: nn.GELU(),
    "pool": lambda: nn.AvgPool2d(3, 1, 1),
    "drop": lambda: nn.Dropout2d(0.2),
    "up": lambda: nn.ConvTranspose2d(4, 4, 3, 1, 1),
    "slope": lambda: nn.PReLU(),
}


class Random(nn.Module):
    """Steps that read one or two of those before."""

    def __init__(self, steps):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
        self.steps = nn.ModuleList(STEPS[name]() for name, _, _ in steps)
        self.reads = [(one, other) for _, one, other in steps]

    def forward(self, x):
        made = [self.stem(x)]
        for step, (one, other) in zip(self.steps, self.reads, strict=True):
            made.append(step(made[one % len(made)] + made[other % len(made)]))
        return self.head(made[-1].mean((2, 3)))


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 9), st.integers(0, 9)),
        min_size=1,
        max_size=5,
    )
)
def test_any_acyclic_module_is_declared(steps):
    module = Random(steps)
    spec = npas.declare(module, images(1, size=6))
    again = npas.build(spec, seed=0)
    known = again.state_dict().keys()
    again.load_state_dict({k: v for k, v in module.state_dict().items() if k in known})
    assert torch.equal(again.eval()(images(3, size=6)), module.eval()(images(3, size=6)))
