"""What is read off a module: layers, ties, frozen parts; what cannot share is named."""

import random
import warnings

import npas
import pytest
import torch
from npas.arch.own.reading import read
from npas.arch.own.skeleton import skeleton, table_of
from npas.errors import InvalidSpecError
from npas.spec import OWN, ArchitectureSpec, JobSpec, ModuleSpec, PlanRequest
from npas.testing.counting import num_stored
from pydantic import ValidationError
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from benchmarks.own_modules import MODULES, FrozenBackbone, Tagger, TiedLanguageModel


def dense(module):
    return npas.plan(module, method="dense").ledger.dense


class Holding(nn.Module):
    """Has layers, and whatever else a test gives it."""

    def __init__(self, **parts):
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


X = (torch.randn(2, 6),)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "lazy"])
def test_reading_leaves_the_module_as_it_was(name):
    make, example = MODULES[name]
    module = make().train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    parameters = [*module.named_parameters()]
    modes = [each.training for each in module.modules()]
    numbers = torch.get_rng_state(), random.getstate()
    read(module, "main", example())
    assert [each.training for each in module.modules()] == modes
    assert [(n, id(p)) for n, p in module.named_parameters()] == [
        (n, id(p)) for n, p in parameters
    ]
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    assert random.getstate() == numbers[1]


@pytest.mark.parametrize("name", MODULES)
def test_a_spec_counts_what_is_trained_and_holds_it_without_code(name):
    make, example = MODULES[name]
    module = make()
    spec = read(module, "main", example())
    assert spec.num_trained == num_stored(module)
    bones = skeleton(spec, device="cpu")
    assert num_stored(bones) == num_stored(module)
    state = module.state_dict()
    assert {n: t.shape for n, t in bones.state_dict().items()}.items() <= {
        n: t.shape for n, t in state.items()
    }.items()
    with pytest.raises(InvalidSpecError, match="cannot run"):
        bones(*X)
    assert table_of("main", spec).dense == spec.num_trained
    assert ModuleSpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_plan_is_the_same_whatever_is_drawn():
    plans = set()
    for seed in range(3):
        torch.manual_seed(seed)
        module = MODULES["attention"][0]()
        plans.add(npas.plan(module, budget={"fraction": 0.3}).to_json())
    assert len(plans) == 1


def test_tied_weights_count_once_and_stay_tied():
    module = TiedLanguageModel()
    spec = read(module, "main")
    (tied,) = [each for each in spec.tensors if each.ties]
    assert (tied.name, tied.ties) == ("embedding.weight", ("head.weight",))
    assert "head.weight" not in {layer.name for layer in spec.layers}
    assert dense(module) == sum(p.numel() for p in module.parameters())


def test_a_module_under_two_names_is_one_layer():
    inner = nn.Linear(6, 6)
    module = Holding(three=inner, four=inner)
    names = [layer.name for layer in read(module, "main").layers]
    assert names.count("three.weight") == 1
    assert "four.weight" not in names


def test_frozen_parameters_are_no_part_of_the_budget():
    module = FrozenBackbone()
    spec = read(module, "main")
    assert {t.name for t in spec.tensors if t.kind == "frozen"} == {
        name for name, p in module.named_parameters() if not p.requires_grad
    }
    assert dense(module) == sum(p.numel() for p in module.head.parameters())


def test_buffers_that_no_state_has_are_left_out():
    assert "mask" not in {each.name for each in read(TiedLanguageModel(), "main").tensors}


def test_a_weight_that_a_list_holds_too_keeps_its_numbers():
    module = Holding()
    module.weights = {"penalised": [module.one.weight]}
    assert [layer.name for layer in read(module, "main").layers] == ["two.weight"]


def test_weights_of_another_precision_keep_their_numbers():
    module = Holding()
    module.two.to(torch.bfloat16)
    assert [layer.name for layer in read(module, "main").layers] == ["one.weight"]


def test_computed_weights_are_no_layers():
    module = Holding()
    prune.random_unstructured(module.one, "weight", 0.5)
    nn.utils.parametrizations.weight_norm(module.two)
    assert read(module, "main").layers == ()
    tagger = Tagger()
    nn.utils.parametrizations.weight_norm(tagger.lstm, "weight_hh_l0")
    assert {layer.kind for layer in read(tagger, "main").layers} == {"embedding", "linear"}


def test_layers_come_in_the_order_in_which_they_are_read():
    class Backwards(Holding):
        def forward(self, x):
            return self.one(self.two(x))

    spec = read(Backwards(), "main", X)
    assert [(la.name, la.role) for la in spec.layers] == [
        ("two.weight", "stem"),
        ("one.weight", "classifier"),
    ]
    assert spec.macs == 72
    assert read(Backwards(), "main").macs is None


def test_recurrent_layers_and_attention_show_what_they_multiply():
    tokens = torch.randint(30, (3, 7))
    cell = sum(2 * 4 * 24 * (inputs + 24) for inputs in (16, 48))
    assert read(Tagger(), "main", (tokens,)).macs == 7 * (cell + 48 * 6)


def test_a_layer_that_is_not_read_is_told_of():
    with pytest.warns(UserWarning, match=r"does not read three.weight on the example") as told:
        npas.plan(Holding(three=nn.Linear(6, 6)), method="dense", example=X)
    assert told[0].filename == __file__


class Asking(Holding):
    """Asks for its own parameters while it runs."""

    def __init__(self):
        super().__init__()
        self.one, self.two = (nn.Linear(6, 6, bias=False) for _ in range(2))

    def forward(self, x):
        return super().forward(x.to(next(self.parameters()).dtype))


def test_a_module_that_asks_for_its_parameters_is_found_out():
    with pytest.raises(InvalidSpecError, match=r"must not look into its own parameters"):
        npas.plan(Asking(), method="dense", example=X)

    class Counting(Holding):
        def forward(self, x):
            return super().forward(x) * len([*self.one.parameters()])

    spec = read(Counting(), "main", X)
    assert [layer.name for layer in spec.layers] == ["two.weight"]


def test_a_module_that_draws_numbers_computes_the_same():
    class Drawing(Holding):
        def forward(self, x):
            return super().forward(x) + torch.rand(1)

    drawing, before = Drawing(), torch.random.get_rng_state()
    assert len(read(drawing, "main", X).layers) == 2
    assert torch.equal(torch.random.get_rng_state(), before)


REFUSED = {
    "scripted": (lambda: torch.jit.script(Holding()), "is scripted"),
    "compiled": (lambda: torch.compile(Holding(), backend="eager"), r"give its \._orig_mod"),
    "replicated": (lambda: nn.DataParallel(Holding()), r"give its \.module"),
    "lazy": (lambda: Holding(three=nn.LazyLinear(3)), r"three.weight is of a lazy layer"),
    "sparse": (
        lambda: Holding(three=nn.Parameter(torch.eye(3).to_sparse())),
        "three is sparse",
    ),
    "complex": (
        lambda: Holding(three=nn.Parameter(torch.zeros(3, dtype=torch.complex64))),
        "three is complex",
    ),
    "frozen": (lambda: Holding().requires_grad_(False), "no parameter that is trained"),
    "overlapping": (
        lambda: overlapping(),
        r"one.weight and two.weight are two tensors in the same",
    ),
    "with state": (lambda: Holding(three=Stateful()), r"its state has three._extra_state"),
}


class Stateful(nn.Module):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass


def overlapping():
    module = Holding()
    module.two.weight = nn.Parameter(module.one.weight.data[1:].expand(5, 6))
    return module


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_share_is_named(kind):
    make, match = REFUSED[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of TorchScript itself
        module = make()
    with pytest.raises(InvalidSpecError, match=match) as error:
        npas.plan(module, method="dense")
    assert error.value.field == "/networks"


def test_weights_beside_each_other_in_one_memory_are_apart():
    both = torch.randn(2, 6, 6)
    module = Holding()
    module.one.weight, module.two.weight = (nn.Parameter(each) for each in both)
    assert len(read(module, "main").layers) == 2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"example": 3}, "example is a int: give what forward takes"),
        ({"example": (torch.randn(2, 5),)}, "does not run on the example .RuntimeError"),
        ({"example": {"y": X[0]}}, "unexpected keyword argument 'y'"),
        ({"dataset": "digits"}, "a module has all its own"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(InvalidSpecError, match=match):
        npas.plan(Holding(), method="dense", **arguments)


def test_bad_networks_are_refused():
    with pytest.raises(InvalidSpecError, match="network b is not a module"):
        npas.plan({"a": Holding(), "b": 3})
    with pytest.raises(InvalidSpecError, match="not a network's name: 'a b'"):
        npas.plan({"a b": Holding()}, method="dense")
    with pytest.raises(InvalidSpecError, match="examples of several modules by name"):
        npas.plan({"a": Holding(), "b": Holding()}, example=X)
    with pytest.raises(InvalidSpecError, match="example is for modules"):
        npas.plan("resnet-8", example=X)


def test_what_shares_already_is_refused_wherever_it_is():
    module = Holding()
    plan = npas.plan(module, method="ssn", budget=60)
    shared = npas.share(module, plan)
    with pytest.raises(InvalidSpecError, match=r"plan its .plan.networks anew"):
        npas.plan(shared)
    with pytest.raises(InvalidSpecError, match=r"its regroup\(plan\) puts it under another"):
        npas.share(shared, plan)
    around = nn.Sequential(nn.Linear(6, 6), shared)
    inside = {"1": around, "one": module, "two": Holding(two=module.two)}
    for where, given in inside.items():
        for act in (npas.plan, lambda each: npas.share(each, plan)):
            with pytest.raises(InvalidSpecError, match=rf"{where} shares by a plan already"):
                act(given)
    plain = shared.materialise()["main"]
    again = npas.share(plain, npas.plan(plain, method="ssn", budget=60))
    assert again.plan.ledger == plan.ledger


def test_modules_without_memory_are_planned_and_shared_but_not_fitted():
    with torch.device("meta"):
        modules = [Holding() for _ in range(4)]
    plan = npas.plan(modules[0], method="ssn", budget=60)
    assert npas.share(modules[0], plan).groups[plan.groups[0].name].templates[0].is_meta
    with pytest.raises(InvalidSpecError, match=r"does not run on the example .*on its device"):
        npas.plan(modules[1], example=X)
    with pytest.raises(InvalidSpecError, match="is on the meta device, and has no numbers"):
        npas.share(modules[1], plan, fit=True)
    with pytest.raises(InvalidSpecError, match="is on the meta device, and has no numbers"):
        npas.convert(modules[2], plan)
    with pytest.raises(InvalidSpecError, match=r"one.weight is on the meta device"):
        npas.export(modules[3], "network.safetensors", "safetensors")


def test_no_request_holds_a_module():
    own = ArchitectureSpec(name=OWN, module=read(Holding(), "main")).model_dump(mode="json")
    requests = {"architecture": own}, {"networks": [{"name": "a", "architecture": own}]}
    for request in requests:
        with pytest.raises(ValidationError, match=r"npas.declare\(module, example\)"):
            PlanRequest.model_validate({**request, "budget": 100})
        with pytest.raises(ValidationError, match=r"npas.declare\(module, example\)"):
            JobSpec.model_validate({**request, "budget": 100, "dataset": "digits"})
    for architecture in (OWN, {"name": "resnet-8", "module": own["module"]}):
        with pytest.raises(InvalidSpecError, match=r"npas.declare\(module, example\)"):
            npas.build(architecture)
    assert "ModuleSpec" not in PlanRequest.model_json_schema()["$defs"]
    assert "module" not in ArchitectureSpec(name="resnet-8").model_dump()


def test_what_needs_code_says_so():
    plan = npas.plan(Holding(), method="dense")
    spec = plan.networks[0].architecture
    with pytest.raises(InvalidSpecError, match=r"Holding cannot be built from data.*into=MyNet"):
        npas.build(spec)
    model = npas.share(Holding(), plan)
    with pytest.raises(InvalidSpecError, match=r"what .*Holding reads only its code says"):
        npas.loops(model)
    with pytest.raises(InvalidSpecError, match=r"plan it with an example"):
        model.anytime()


class Functional(Holding):
    """Multiplies with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.w, self.v = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6, 6))
        self.kernel = nn.Parameter(torch.randn(2, 1, 3))
        self.shift = nn.Parameter(torch.randn(2, 6))

    def forward(self, x):
        x = functional.linear(super().forward(x), self.w) @ self.v + self.shift
        return functional.conv1d(x[:, None], self.kernel)


def test_weights_of_functions_are_layers_once_they_are_seen_at_work(tmp_path):
    module = Functional()
    kinds = {layer.name: layer.kind for layer in read(module, "main", X).layers}
    assert kinds == {
        **dict.fromkeys(("one.weight", "two.weight", "w", "v"), "linear"),
        "kernel": "conv1d",
    }
    assert not {"w", "v", "kernel"} & {layer.name for layer in read(module, "main").layers}
    plan = npas.plan(module, budget={"fraction": 0.7}, method="ssn", example=X)
    model = npas.share(module, plan, fit=True)
    assert "w" in {slot.layer for group in plan.groups for slot in group.slots}
    model(*X).sum().backward()
    npas.save(model.eval(), tmp_path / "model.safetensors")
    loaded = npas.load(tmp_path / "model.safetensors", into=Functional())
    assert torch.equal(loaded(*X), model(*X))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_budgets_in_bytes_are_for_float32(dtype):
    with pytest.raises(InvalidSpecError, match=r"main/one\.weight is \w+, .* module\.float\(\)"):
        npas.plan(Holding().to(dtype), budget={"bytes": 3_000})
    assert npas.plan(Holding(), method="dense", budget={"bytes": 3_000}).file.bytes == 3_000


def test_a_gradient_hook_keeps_its_weight_plain():
    module = Holding(three=nn.Linear(6, 6))
    module.one.weight.register_hook(lambda gradient: gradient * 0)
    with pytest.warns(
        UserWarning, match=r"plain weight one.weight: it has gradient hooks"
    ) as told:
        plan = npas.plan(module, method="ssn", budget=100)
    assert told[0].filename == __file__
    assert {s.layer for g in plan.groups for s in g.slots} == {"two.weight", "three.weight"}
    model = npas.share(module, plan)
    model(*X).sum().backward()
    assert not module.one.weight.grad.any()
    late = Holding()
    shared = npas.plan(late, method="ssn", budget=60)
    late.two.weight.register_post_accumulate_grad_hook(print)
    with pytest.raises(InvalidSpecError, match=r"two.weight has gradient hooks"):
        npas.share(late, shared)
