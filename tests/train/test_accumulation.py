"""The gradient of a batch in parts is that of the batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.data import Inputs
from npas.spec import TrainingSpec
from npas.train.accumulation import accumulate
from npas.train.objective import Objective
from npas.train.teacher import Teacher
from torch import Tensor, nn

INPUTS = Inputs(mean=(0.4,), std=(0.3,), input_size=4)


class Two(nn.Module):
    """Two networks without batch normalisation or dropout; of classes, or of cells."""

    def __init__(self, *, cells: bool) -> None:
        super().__init__()
        last: nn.Module = nn.Conv2d(6, 2, 1)
        if not cells:
            last = nn.Sequential(nn.Flatten(), nn.Linear(96, 5))
        self.one = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.Tanh(), last
        )
        self.two = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), last)

    def members(self, x: Any, names: Sequence[str] = ("one", "two")) -> Mapping[str, Tensor]:
        own = x if isinstance(x, Mapping) else dict.fromkeys(names, x)
        return {name: self.get_submodule(name)(own[name]) for name in names}


def penalty(model: nn.Module) -> Tensor:
    return 0.3 * torch.stack([p.square().sum() for p in model.parameters()]).sum()


def objective(*, cells: bool, **training: Any) -> Objective:
    torch.manual_seed(1)
    return Objective(
        spec=TrainingSpec.model_validate(training),
        inputs=INPUTS,
        precision=torch.float32,
        penalty=penalty,
        teacher=Teacher(model=Two(cells=cells).eval(), inputs=INPUTS),
        class_weights=torch.linspace(0.2, 2, 2 if cells else 5),
    )


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def batch(size: int, *, cells: bool, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (size, 1, 4, 4), generator=draw, dtype=torch.uint8)
    if cells:
        return images, torch.randint(2, (size, 4, 4), generator=draw, dtype=torch.uint8)
    return images, torch.randint(5, (size,), generator=draw)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    size=st.integers(2, 23),
    parts=st.integers(1, 23),
    cells=st.booleans(),
    distilled=st.booleans(),
    seed=st.integers(0, 99),
)
def test_parts_have_the_gradient_of_the_whole(
    size: int, parts: int, cells: bool, distilled: bool, seed: int
) -> None:
    """To 1e-5 of the largest entry of the gradient: float32 sums in another order."""
    options: dict[str, Any] = {"label_smoothing": 0.1}
    wanted = objective(cells=cells, **options, **({"distillation": {}} if distilled else {}))
    model = Two(cells=cells)
    images, labels = batch(size, cells=cells, seed=seed)

    plain, plain_hits = wanted(model, images, labels)
    plain.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    loss, hits = accumulate(wanted, model, images, labels, parts=min(parts, size))

    largest = max(float(g.abs().max()) for g in expected)
    for found, right in zip(gradients(model), expected, strict=True):
        assert (found - right).abs().max() <= 1e-5 * largest
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.equal(hits, plain_hits)


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize(
    ("ensemble", "names"),
    [({"mutual": 0.4}, None), ({}, ["two"]), ({"batches": "own"}, ["one", "two"])],
)
def test_parts_of_several_networks_have_the_gradient_of_the_whole(
    cells: bool, ensemble: dict[str, Any], names: list[str] | None
) -> None:
    wanted = objective(cells=cells, ensemble=ensemble, distillation={})
    model = Two(cells=cells)
    drawn = [batch(11, cells=cells, seed=seed) for seed in (1, 2)]
    images: Any = dict(zip(("one", "two"), (x for x, _ in drawn), strict=True))
    labels: Any = dict(zip(("one", "two"), (y for _, y in drawn), strict=True))
    if "batches" not in ensemble:
        images, labels = images["one"], labels["one"]

    plain, plain_hits = accumulate(wanted, model, images, labels, names, parts=1)
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    loss, hits = accumulate(wanted, model, images, labels, names, parts=4)

    largest = max(float(g.abs().max()) for g in expected)
    for found, right in zip(gradients(model), expected, strict=True):
        assert (found - right).abs().max() <= 1e-5 * largest
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.equal(hits, plain_hits)
    if "batches" in ensemble:
        assert hits[1] == 22 or cells


def test_one_part_is_the_plain_gradient_to_the_bit() -> None:
    wanted, (images, labels) = objective(cells=False), batch(9, cells=False, seed=3)
    model = Two(cells=False)

    plain, _ = wanted(model, images, labels)
    plain.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    loss, _ = accumulate(wanted, model, images, labels, parts=1)

    assert torch.equal(loss, plain.detach())
    assert all(map(torch.equal, gradients(model), expected))
