"""Files of modules: into which they can be put, what they refuse, what memory they take."""

import gc
import json
import weakref

import npas
import pytest
import torch
from npas.delivery.own import tensors_of
from npas.errors import CheckpointError, InvalidSpecError, PlanError
from npas.plans import Plan
from safetensors import safe_open
from torch import nn
from torch.nn.utils import prune

from benchmarks.own_modules import MODULES, FrozenBackbone, TiedLanguageModel

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, width=12, act=nn.ReLU, **parts):
        super().__init__()
        self.first = nn.Linear(6, width)
        self.body = nn.Sequential(nn.Linear(width, 12), act(), nn.Linear(12, 12), act())
        self.norm = nn.BatchNorm1d(12)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.norm(self.body(self.first(x)))


def made(fraction=0.6, net=None, **options):
    net = net or Net()
    return npas.share(net, npas.plan(net, budget={"fraction": fraction}, **options), fit=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_file_holds_the_scalars_of_the_budget_and_says_what_it_is_for(path):
    model = made()
    npas.save(model, path, extra={"note": 1})
    with safe_open(path, framework="pt") as file:
        held = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    buffers = sum(buffer.numel() for buffer in model.network("main").buffers())
    assert held == model.plan.ledger.total + buffers
    with pytest.raises(CheckpointError, match=r"is of .*Net, which only its code can build: give"):
        npas.load(path)
    loaded = npas.load(path, into=Net())
    assert (loaded.extra, loaded.plan) == ({"note": 1}, model.plan)
    assert not loaded.training


OTHERS = {
    "wider": (lambda: Net(width=13), r"first.weight is \(13, 6\), not \(12, 6\)"),
    "more": (lambda: Net(more=nn.Linear(2, 2)), "has a parameter more.weight of .* too many"),
    "less": (lambda: nn.Sequential(), r"has no parameter first.weight, which is \(12, 6\)"),
    "another function": (lambda: Net(act=nn.Tanh), r"body.1, a Tanh\(\), is another"),
    "another setting": (
        lambda: Net(norm=nn.BatchNorm1d(12, eps=0.1)),
        r"norm, a BatchNorm1d.*, is another",
    ),
    "a buffer": (lambda: with_buffer(), "first.bias is a buffer, not a parameter"),
    "tied": (lambda: tied(), "body.0.weight is one with body.2.weight, not with nothing"),
}


def with_buffer():
    net = Net()
    del net.first.bias
    net.first.register_buffer("bias", torch.zeros(12))
    return net


def tied():
    net = Net()
    net.body[2].weight = net.body[0].weight
    return net


@pytest.mark.parametrize("kind", OTHERS)
def test_another_module_is_refused_by_its_first_layer_that_differs(kind, path):
    make, match = OTHERS[kind]
    model = made()
    npas.save(model, path)
    with pytest.raises(CheckpointError, match=f"is of another module, a .*Net: .*{match}"):
        npas.load(path, into=make())
    with pytest.raises(PlanError, match=f"is not the module that the plan is for, .*{match}"):
        npas.share(make(), model.plan)


def test_what_cannot_be_loaded_into_is_refused(path):
    model = made()
    npas.save(model, path)
    for into, match in [
        (3, "cannot share: give a module"),
        (model, "shares by a plan already"),
        (Net(more=nn.LazyLinear(2)), "is of a lazy layer"),
        (Net().to("meta"), "is on the meta device"),
    ]:
        with pytest.raises(InvalidSpecError, match=match):
            npas.load(path, into=into)
    with pytest.raises(PlanError, match="the plan is for networks"):
        npas.load(path, into={"other": Net()})


def test_files_of_architectures_go_into_what_fits(path):
    plan = npas.plan("resnet-8", budget={"fraction": 0.5})
    model = npas.share(npas.build("resnet-8", seed=0), plan).eval()
    npas.save(model, path)
    x = torch.randn(2, 3, 32, 32)
    loaded = npas.load(path, into=npas.build("resnet-8", seed=1))
    assert torch.equal(loaded(x), model(x))
    with pytest.raises(CheckpointError, match="is not of this module: network main"):
        npas.load(path, into=npas.build("wrn-10-1"))


def test_precision_and_mode_and_plain_weights_come_back(path):
    model = made().to(torch.bfloat16).eval()
    npas.save(model, path)
    loaded = npas.load(path, into=Net())
    half = X.to(torch.bfloat16)
    assert torch.equal(loaded(half), model(half))
    plain = npas.load(path, into=Net(), materialise=True)
    assert type(plain) is Net
    assert torch.equal(plain(half), model(half))


def test_frozen_parts_stay_frozen_and_ties_tied(path):
    for make, name in ((FrozenBackbone, "frozen"), (TiedLanguageModel, "tied")):
        net, example = make(), MODULES[name][1]()
        model = made(net=net, method="ssn")
        npas.save(model.eval(), path)
        loaded = npas.load(path, into=make().requires_grad_(True))
        flags = [
            [p.requires_grad for p in each.network("main").parameters()]
            for each in (model, loaded)
        ]
        assert flags[0] == flags[1]
        assert torch.equal(loaded(*example), model(*example))
    assert loaded.network("main").head.weight is loaded.network("main").embedding.weight
    assert "networks.0.head.weight" not in tensors_of(loaded)


def test_what_is_frozen_later_still_fits_and_what_is_trained_later_does_not():
    net = Net()
    plan = npas.plan(net, budget={"fraction": 0.6})
    net.norm.requires_grad_(False)
    assert not npas.share(net, plan).network("main").norm.weight.requires_grad
    frozen = Net()
    frozen.norm.requires_grad_(False)
    plan = npas.plan(frozen, budget={"fraction": 0.6})
    with pytest.raises(PlanError, match=r"norm.weight is trained, and was frozen when the plan"):
        npas.share(Net(), plan)


def test_what_was_changed_since_it_was_planned_is_not_saved(path):
    model = made()
    model.network("main").more = nn.Linear(2, 2)
    with pytest.raises(PlanError, match=r"no longer the module that was planned: .*more.weight"):
        npas.save(model, path)


def test_buffers_that_share_memory_are_saved(path):
    def make():
        net = Net()
        whole = torch.arange(24.0)
        net.register_buffer("some", whole[:12])
        net.register_buffer("all", whole)
        return net

    model = made(net=make())
    npas.save(model, path)
    loaded = npas.load(path, into=make()).network("main")
    assert torch.equal(loaded.some, torch.arange(12.0))


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (nn.MultiheadAttention, {"add_zero_attn": True}),
        (nn.TransformerEncoderLayer, {"activation": "gelu"}),
        (nn.TransformerDecoderLayer, {"activation": torch.tanh}),
        (nn.TransformerEncoderLayer, {"norm_first": True}),
    ],
)
def test_settings_of_attention_must_be_the_same(kind, setting, path):
    npas.save(made(net=Net(part=kind(12, 2))), path)
    npas.load(path, into=Net(part=kind(12, 2)))
    with pytest.raises(CheckpointError, match=r"part, .* is another"):
        npas.load(path, into=Net(part=kind(12, 2, **setting)))


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "layer", "settings"])
def test_a_plan_that_was_tampered_with_is_refused(change, path):
    model = made()
    npas.save(model, path)
    plan = json.loads(model.plan.to_json())
    module = plan["networks"][0]["architecture"]["module"]
    first = module["tensors"][0]
    if change == "name":
        first["name"] = "training.weight"
    elif change == "dtype":
        first["dtype"] = "manual_seed"
    elif change == "shape":
        first["shape"] = [2**40, 2**40]
    elif change == "layer":
        module["layers"][0]["name"] = "norm.running_mean"
    else:
        module["settings"] = module["settings"][1:]
    with pytest.raises((PlanError, CheckpointError, InvalidSpecError)):
        npas.share(Net(), Plan.from_json(json.dumps(plan)))


def live_bytes():
    """Count the bytes of all plain tensors that are alive, each storage once."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) in (torch.Tensor, nn.Parameter)]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in tensors}
    return sum(storage.nbytes() for storage in storages.values())


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.ModuleList(nn.Linear(256, 256) for _ in range(16))

    def forward(self, x):
        for layer in self.body:
            x = torch.relu(layer(x))
        return x


@pytest.mark.parametrize("fit", [False, True])
def test_weights_are_taken_over_and_never_copied(fit):
    net, dense = Large(), 16 * 256 * 256 * 4
    before = live_bytes()
    plan = npas.plan(net, budget={"fraction": 0.3}, example=(torch.randn(2, 256),))
    assert live_bytes() < before + dense / 100
    generated = [weakref.ref(p) for name, p in net.named_parameters() if name.endswith("weight")]
    biases = {name: p.data_ptr() for name, p in net.named_parameters() if name.endswith("bias")}
    model = npas.share(net, plan, fit=fit)
    gc.collect()
    slots = sum(len(group.slots) for group in plan.groups)
    assert model.network("main") is net
    assert sum(each() is None for each in generated) == slots > 10
    assert {n: p.data_ptr() for n, p in net.named_parameters() if n in biases} == biases
    assert live_bytes() < before - dense + 4 * plan.ledger.total + dense / 10
    with torch.no_grad():
        model.eval()(torch.randn(2, 256))
    # Beside the banks: the weights that they make, and the work space of their recipe.
    assert live_bytes() < before - dense + 4 * plan.ledger.total + 2.2 * dense


class Buffered(Net):
    """Has buffers of types that weights do not have, one of them empty."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("small", torch.tensor([-3], dtype=torch.int8))
        self.register_buffer("places", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("wide", torch.ones(1).expand(5))


@pytest.mark.parametrize("size", [2_900, 10**6])
def test_buffers_of_any_type_are_in_files_of_so_many_bytes(size, path):
    npas.save(made(net=Buffered(), example=(X,)), path, bytes=size)
    again = npas.load(path, into=Buffered()).network("main")
    assert path.stat().st_size <= size
    for name in ("mask", "small", "places", "wide"):
        assert torch.equal(again.get_buffer(name), Buffered().get_buffer(name))
        assert again.get_buffer(name).dtype == Buffered().get_buffer(name).dtype


def test_a_pruned_module_is_copied_and_made_plain_after_a_step():
    net = Net()
    prune.l1_unstructured(net.body[0], "weight", 0.5)
    model = made(net=net, method="uniform", example=(X,))
    model(X).sum().backward()
    plain = model.materialise()["main"]
    assert torch.equal(plain.eval()(X), model.eval()(X))
