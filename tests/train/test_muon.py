"""Muon on each template for itself is torch's own Muon, and AdamW moves all else."""

import copy
from collections.abc import Callable
from typing import Any

import npas
import pytest
import torch
from npas.data import Dataset
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.spec import ArchitectureSpec, TrainingSpec
from npas.train import Command, Trainer
from npas.train.muon import MuonAndAdamW, matrices_of, matrix_shape
from npas.train.optimizer import optimizer
from torch import Tensor, nn

MakeTrainer = Callable[..., Trainer]
SPEC = TrainingSpec(optimizer="muon", learning_rate=0.01, weight_decay=0.02, norm_decay=False)
METHODS: list[Any] = [
    ("soft_sharing", {}),
    ("superweights", {}),
    ("superweights", {"blocks": "stack", "bins": 2}),
    ("block_mix", {}),
    ("ssn", {}),
    ("random", {}),
    ("dense", {}),
]


def shared(method: str, options: dict[str, Any], fraction: float = 0.6) -> SharedModel:
    is_soft = method == "soft_sharing"  # which needs several layers of one shape
    architecture = ArchitectureSpec.model_validate(
        {"name": "resnet-14" if is_soft else "resnet-8", "input_channels": 1, "input_size": 8}
    )
    size = {"dense": 1.0, "soft_sharing": 0.8}.get(method, fraction)
    plan = npas.plan(architecture, budget={"fraction": size}, method=method, **options)
    return npas.share(npas.build(plan.networks[0].architecture, seed=0), plan, seed=1)


def with_gradients(model: nn.Module, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def theirs(matrices: list[Tensor], decay: float) -> torch.optim.Optimizer:
    return torch.optim.Muon(
        matrices,
        lr=SPEC.learning_rate,
        weight_decay=decay,
        momentum=SPEC.momentum,
        nesterov=True,
        adjust_lr_fn="match_rms_adamw",
    )


def pieces(whole: Tensor, shapes: Any) -> list[Tensor]:
    """Return copies of the matrices, by plain counting."""
    found, place, flat = [], 0, whole.detach().flatten()
    while place < len(flat):
        for rows, columns in shapes:
            found.append(flat[place : place + rows * columns].reshape(rows, columns).clone())
            place += rows * columns
    return found


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
def test_each_matrix_moves_as_by_torchs_muon_alone(method: str, options: dict[str, Any]) -> None:
    model = shared(method, options)
    twin = copy.deepcopy(model)
    made = optimizer(model, SPEC)
    matrices = matrices_of(model)
    is_exempt = {n: "coefficients" in n or "bias" in n or "norm" in n for n, _ in named(model)}
    apart: dict[str, list[Tensor]] = {
        name: pieces(parameter, matrices[parameter])
        for name, parameter in named(model)
        if parameter in matrices
    }
    assert not [name for name in apart if is_exempt[name]]
    alone = {name: theirs(own, SPEC.weight_decay) for name, own in apart.items()}
    rest = [(n, p) for n, p in twin.named_parameters() if n not in apart]
    adamw = torch.optim.AdamW(
        [
            {"params": [p], "weight_decay": 0.0 if is_still(n, twin) else SPEC.weight_decay}
            for n, p in rest
        ],
        lr=SPEC.learning_rate,
        betas=(SPEC.momentum, 0.999),
        fused=True,
    )
    for seed in range(3):
        with_gradients(model, seed)
        with_gradients(twin, seed)
        made.step()
        adamw.step()
        for name, parameter in named(model):
            if name in apart:
                assert parameter.grad is not None
                gradients = pieces(parameter.grad, matrices[parameter])
                for own, gradient in zip(apart[name], gradients, strict=True):
                    own.grad = gradient
                alone[name].step()
    for name, parameter in named(model):
        if name in apart:
            found = pieces(parameter, matrices[parameter])
            assert all(torch.equal(a, b) for a, b in zip(found, apart[name], strict=True)), name
        else:
            assert torch.equal(parameter, twin.get_parameter(name)), name


def named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters())


def is_still(name: str, model: nn.Module) -> bool:
    """Return whether a parameter does not decay: coefficients, norms and biases."""
    owner = model.get_submodule(name.rpartition(".")[0])
    is_small = isinstance(owner, nn.BatchNorm2d) or name.endswith("bias")
    return "coefficients" in name or is_small


def shapes_of(model: SharedModel) -> list[list[Any]]:
    """Return the shapes of the matrices in a template of each bank."""
    groups = [group for group in model.groups.values() if isinstance(group, SharedGroup)]
    return [list(shapes) for group in groups for shapes in group.matrices()]


def test_what_a_matrix_is_depends_on_the_recipe() -> None:
    layers = {(16, 144), (32, 288), (64, 576)}
    assert {shape for (shape,) in shapes_of(shared("soft_sharing", {}))} <= layers
    nested = {shape for (shape,) in shapes_of(shared("superweights", {}))}
    assert {(16, 9), (16, 135)} <= nested  # the first layer, and what completes the next to it
    (block,) = shapes_of(shared("superweights", {"blocks": "stack", "bins": 2}, fraction=0.3))
    assert block == [(16, 144)]
    for method, options in (("ssn", {}), ("random", {}), ("block_mix", {"search": False})):
        found = shapes_of(shared(method, options, fraction=0.15))
        assert found
        assert all(not shapes for shapes in found), method


def test_matrices_of_a_template_are_all_of_it() -> None:
    for method, options in METHODS:
        for group in shared(method, options).groups.values():
            assert isinstance(group, SharedGroup)
            for templates, shapes in zip(group.templates, group.matrices(), strict=True):
                sizes = [rows * columns for rows, columns in shapes]
                assert sum(sizes) in (0, templates.shape[1])


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("weight", (8, 4, 3, 3), (8, 36)),
        ("weight", (8, 4), (8, 4)),
        ("weight_ih_l0", (32, 8), (32, 8)),
        ("in_proj_weight", (24, 8), (24, 8)),
        ("weight", (8,), None),
        ("weight", (1, 8), None),
        ("weight", (8, 1, 1, 1), None),
        ("position", (16, 8), None),
        ("bias", (8, 8), None),
    ],
)
def test_plain_weights_are_matrices(name: str, shape: Any, expected: Any) -> None:
    assert matrix_shape(name, shape) == expected


def test_embeddings_are_no_matrices_also_where_they_are_read_twice() -> None:
    table, head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
    head.weight = table.weight
    assert matrices_of(nn.ModuleList([table, head])) == {}
    assert list(matrices_of(nn.Linear(4, 9)).values()) == [[(9, 4)]]


def test_weights_that_lie_otherwise_in_memory_move_alike() -> None:
    plain = nn.Conv2d(3, 8, 3)
    turned = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    assert not turned.weight.is_contiguous()
    for seed in range(2):
        for module, made in ((plain, None), (turned, None)):
            del made
            with_gradients(module, seed)
    one, other = optimizer(plain, SPEC), optimizer(turned, SPEC)
    for seed in range(2):
        for module, step in ((plain, one), (turned, other)):
            with_gradients(module, seed)
            step.step()
    assert torch.equal(plain.weight, turned.weight)
    assert not turned.weight.is_contiguous()


def test_parameters_without_a_gradient_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6))
    made = optimizer(model, SPEC)
    before = {name: each.detach().clone() for name, each in named(model)}
    model[0].weight.grad = torch.ones(5, 4)
    made.step()
    changed = {name for name, each in named(model) if not torch.equal(each, before[name])}
    assert changed == {"0.weight"}
    assert isinstance(made, MuonAndAdamW)


def test_defaults_are_muons_own() -> None:
    spec = TrainingSpec.model_validate({"optimizer": "muon"})
    assert (spec.learning_rate, spec.momentum) == (0.001, 0.95)
    asked = {"optimizer": "muon", "learning_rate": 0.02, "momentum": 0.8}
    spec = TrainingSpec.model_validate(asked)
    assert (spec.learning_rate, spec.momentum) == (0.02, 0.8)


def run_on(trainer: Trainer, until: int | None = None) -> None:
    trainer.train(after_step=lambda: Command.CONTINUE, after_epoch=lambda _: None, until=until)


@pytest.mark.parametrize("method", ["soft_sharing", "superweights", "dense", "random"])
def test_resumed_training_is_bit_equal_and_learns(few_digits: Dataset, method: str) -> None:
    fields = {"optimizer": "muon", "epochs": 6, "batch_size": 32, "learning_rate": 0.01}
    spec = TrainingSpec.model_validate(fields)

    def make() -> Trainer:
        model = shared(method, {})
        return Trainer(model, few_digits, spec, inputs=few_digits.inputs(), seed=0)

    whole = make()
    run_on(whole)
    assert whole.rows[-1].train_loss < 0.8 * whole.rows[0].train_loss
    first, second = make(), make()
    run_on(first, until=13)
    second.restore(first.state())
    run_on(second)
    one, other = whole.state().tensors, second.state().tensors
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
