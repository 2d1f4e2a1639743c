"""A network is the same whatever its caller is in the midst of: autocast, threads, a step."""

import contextlib
import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import npas
import pytest
import torch
from npas import registry
from npas.folding.penalty import recurrence_penalty
from npas.sharing.measure import coefficient_agreement, gradient_agreement, representation
from npas.spec import ArchitectureSpec, BudgetSpec
from torch.nn import functional as F

METHODS = [name for name in registry.names("npas.methods") if name != "auto"]
FLAT = [
    ("ssn", {"share": share, "upsample": upsample, "fraction": fraction})
    for share in ("wavg", "emb")
    for upsample in ("interpolate", "repeat", "mask", "wavg")
    for fraction in (0.1, 0.5)
]
SEARCHED = [(name, {"stage": "search"}) for name in ("superweights", "ssn")]
X = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 10
HALF = torch.autocast("cpu", torch.bfloat16)


def made(method="superweights", fraction=0.75, name="wrn-16-1", **options):
    fraction = 1.0 if method == "dense" else fraction
    plan = npas.plan(name, budget=BudgetSpec(fraction=fraction), method=method, **options)
    network = npas.build(plan.networks[0].architecture, seed=1)
    return npas.share(network, plan, seed=1)


def outputs(model):
    with torch.no_grad():
        return model(X)


def gradients(model, x=X):
    model.zero_grad()
    F.cross_entropy(model(x), Y).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def equal(found, wanted):
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("method", "options"),
    [*((name, {}) for name in METHODS), *FLAT, *SEARCHED],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_weights_are_composed_in_float32_under_autocast(method, options):
    model = made(method, **options).eval()
    with HALF:
        F.cross_entropy(model(X), Y).backward()
    wanted = copy.deepcopy(model)
    for group in wanted.groups.values():
        group.forget()
    assert torch.equal(outputs(model), outputs(wanted))
    assert all(p.grad.isfinite().all() for p in model.parameters())


def batches():
    return [(X, Y), (X.flip(0), Y)]


MADE_OF_A_MODEL = {
    "gradient agreement": lambda model: gradient_agreement(model, batches()).to_json(),
    "coefficient agreement": lambda model: coefficient_agreement(model, batches()).banks,
    "representation": lambda model: representation(model).to_json(),
    "similarity": lambda model: list(npas.similarity(model, of="coefficients").values()),
    "penalty": lambda model: [recurrence_penalty(model.plan)(model)],
    "regroup": lambda model: list(model.regroup(model.plan).parameters()),
    "fold": lambda model: list(npas.fold(model, 0.1).model.parameters()),
    "loops": lambda model: list(npas.loops(npas.fold(model, 0.1).model).parameters()),
}


@pytest.mark.parametrize("name", MADE_OF_A_MODEL)
def test_what_is_made_of_a_model_is_the_same_under_autocast(name):
    make = MADE_OF_A_MODEL[name]
    model = made("soft_sharing", recurrence=0.1).eval()
    with torch.no_grad():
        for parameter in model.groups.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    wanted = make(copy.deepcopy(model))
    with HALF:
        found = make(copy.deepcopy(model))
    is_tensors = isinstance(wanted, list)
    assert equal(found, wanted) if is_tensors else found == wanted


@contextlib.contextmanager
def quick_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def in_threads(call, count=8):
    """Return what threads that begin together get."""
    together = threading.Barrier(count)

    def begin():
        together.wait()
        return [call() for _ in range(3)]

    with quick_switches(), ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(begin) for _ in range(count)]
    return [found for future in futures for found in future.result()]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_threads_get_the_outputs_of_one_right_after_load_and_eval(method, tmp_path):
    fraction = 0.1 if method in ("block_mix", "ssn", "random") else 0.75
    model = made(method, fraction).eval()
    npas.save(model, tmp_path / "model.safetensors")
    wanted = outputs(model)
    for _ in range(3):
        loaded = npas.load(tmp_path / "model.safetensors")
        assert equal(in_threads(lambda loaded=loaded: outputs(loaded)), [wanted] * 24)
        loaded.eval()
        assert equal(in_threads(lambda loaded=loaded: outputs(loaded)), [wanted] * 24)
        assert equal(in_threads(lambda loaded=loaded: outputs(loaded.eval())), [wanted] * 24)


def test_threads_get_the_outputs_of_one_from_recurrent_layers():
    layers = [
        *({"kind": "steps"}, {"kind": "recurrent", "cell": "lstm", "outputs": 16, "layers": 2}),
        *({"kind": "pool", "function": "global"}, {"kind": "linear"}),
    ]
    spec = ArchitectureSpec(
        name="declared", layers=layers, input_channels=3, input_size=16, num_classes=10
    )
    for _ in range(3):
        model = made("ssn", 0.5, spec).eval()
        wanted = outputs(copy.deepcopy(model))
        assert equal(in_threads(lambda model=model: outputs(model)), [wanted] * 24)


def test_threads_that_train_get_the_gradients_of_one():
    """Up to rounding: a thread may read what another put in place, and the sum has two parts."""
    model = made().eval().double()
    wanted = gradients(copy.deepcopy(model), X.double())

    def call():
        loss = F.cross_entropy(model(X.double()), Y)
        return list(torch.autograd.grad(loss, list(model.parameters())))

    for found in in_threads(call):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_model_can_be_copied_and_pickled_before_and_after_it_was_used():
    model = made()
    for _ in range(2):
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(outputs(twin.eval()), outputs(copy.deepcopy(model).eval()))
            gradients(twin)
        gradients(model)
