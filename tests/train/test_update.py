"""A step whose gradient is no longer than asked: that of all parameters, each once."""

from collections.abc import Sequence

import npas
import pytest
import torch
from npas.spec import ArchitectureSpec, TrainingSpec
from npas.train.evaluate import Tensors
from npas.train.optimizer import optimizer, rate_of
from npas.train.update import update
from torch import Tensor, nn


def steep(
    model: nn.Module,
    images: Tensors,
    _labels: Tensors,
    _names: Sequence[str] | None = None,
) -> tuple[Tensor, Tensor]:
    assert isinstance(images, Tensor)
    return 1000 * model(images).square().mean(), torch.zeros(2)


def moved(clip_norm: float | None, length: float) -> float:
    """Return how far a step of plain descent moves a shared network, as a part of a length."""
    architecture = ArchitectureSpec.model_validate(
        {"name": "resnet-14", "input_channels": 1, "input_size": 8}
    )
    plan = npas.plan(architecture, budget={"fraction": 0.8}, method="soft_sharing")
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan)
    spec = TrainingSpec(momentum=0.0, nesterov=False, weight_decay=0.0)
    before = [each.detach().clone() for each in model.parameters()]
    batch = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(4)
    update(
        model,
        optimizer(model, spec),
        steep,
        batch,
        epoch=1,
        rate=1e-3,
        parts=1,
        rounding=None,
        clip_norm=clip_norm,
    )
    after = [each.detach() for each in model.parameters()]
    apart = [(a - b).square().sum() for a, b in zip(after, before, strict=True)]
    return float(torch.stack(apart).sum().sqrt()) / (1e-3 * length)


@pytest.mark.parametrize("length", [0.5, 7.0])
def test_step_is_as_long_as_allowed(length: float) -> None:
    assert moved(None, length) > 10
    assert moved(length, length) == pytest.approx(1, rel=1e-3)


def test_shorter_gradients_stay_as_they_are() -> None:
    assert moved(1e6, 1.0) == moved(None, 1.0)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "muon"])
def test_templates_alone_move_at_the_rate_of_banks(kind: str) -> None:
    steps = [moves(kind, bank_rate) for bank_rate in (1.0, 2.0)]
    names = steps[0].keys()
    banks = {name for name in names if ".templates." in name}
    assert banks
    assert {name for name in names if not torch.equal(steps[0][name], steps[1][name])} == banks
    for name in banks:
        torch.testing.assert_close(steps[1][name], 2 * steps[0][name], rtol=1e-3, atol=1e-6)


def moves(kind: str, bank_rate: float) -> dict[str, Tensor]:
    """Return how far the first step moves each parameter of a shared network."""
    plan = npas.plan("resnet-8", budget={"fraction": 0.5}, method="superweights", search=False)
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan)
    spec = TrainingSpec.model_validate({"optimizer": kind, "bank_rate": bank_rate})
    mover = optimizer(model, spec)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.zeros(4)
    update(model, mover, steep, batch, epoch=1, rate=1e-3, parts=1, rounding=None)
    assert rate_of(mover) == 1e-3
    return {name: each.detach() - before[name] for name, each in model.named_parameters()}
