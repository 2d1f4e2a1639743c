"""What is minimised, against NumPy written from the formulas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from npas.data import Inputs
from npas.spec import TrainingSpec
from npas.train.objective import Objective
from npas.train.teacher import Teacher
from torch import Tensor, nn

Array = np.ndarray[Any, Any]


class Said(nn.Module):
    """Members that say fixed logits, whatever they see."""

    def __init__(self, **logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.ParameterDict(logits)

    def members(self, _x: Any, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        return {name: self.logits[name] for name in (self.logits if names is None else names)}


def draw(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def probabilities(logits: Tensor, temperature: float = 1.0) -> Array:
    """Return (N, K, ...), the softmax."""
    z = logits.detach().double().numpy() / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def objective(teacher: nn.Module | None, **training: Any) -> Objective:
    inputs = Inputs(mean=(0.0,), std=(1.0,), input_size=4)
    return Objective(
        spec=TrainingSpec.model_validate(training),
        inputs=inputs,
        precision=torch.float32,
        teacher=Teacher(model=teacher, inputs=inputs) if teacher else None,
    )


IMAGES = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])
MASKS = (draw(6, 4, 4, seed=9) > 0).to(torch.uint8)


@pytest.mark.parametrize(
    ("shape", "targets"), [((6, 3), LABELS), ((6, 2, 4, 4), MASKS)], ids=["classes", "cells"]
)
def test_distilled_loss_is_hintons(shape: tuple[int, ...], targets: Tensor) -> None:
    pupil = Said(one=draw(*shape, seed=1), two=draw(*shape, seed=2))
    teacher = Said(a=draw(*shape, seed=3), b=draw(*shape, seed=4))
    distillation = {"temperature": 3.0, "weight": 0.7}

    loss, _ = objective(teacher, distillation=distillation)(pupil, IMAGES, targets)

    wanted = np.mean([probabilities(z, 3.0) for z in teacher.logits.values()], axis=0)
    expected = 0.0
    for logits in pupil.logits.values():
        plain, soft = probabilities(logits), probabilities(logits, 3.0)
        right = np.take_along_axis(plain, targets.numpy()[:, None].astype(int), axis=1)
        divergence = (wanted * np.log(wanted / soft)).sum(axis=1).mean()
        expected += 0.3 * -np.log(right).mean() + 0.7 * 9 * divergence
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_teacher_gets_no_gradient_and_its_equal_has_nothing_to_learn() -> None:
    logits = draw(6, 3, seed=1)
    pupil, teacher = Said(one=logits.clone()), Said(one=logits.clone())

    loss, _ = objective(teacher, distillation={"weight": 1.0})(pupil, IMAGES, LABELS)
    loss.backward()

    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert pupil.logits["one"].grad.abs().max().item() < 1e-5
    assert teacher.logits["one"].grad is None


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cells_are_scored_by_the_mean_binary_cross_entropy(smoothing: float) -> None:
    logits = draw(6, 2, 4, 4, seed=5)

    loss, hits = objective(None, label_smoothing=smoothing)(Said(one=logits), IMAGES, MASKS)

    yes = probabilities(logits)[:, 1]
    wanted = MASKS.double().numpy()
    smooth = wanted * (1 - smoothing) + smoothing / 2
    expected = -(smooth * np.log(yes) + (1 - smooth) * np.log(1 - yes)).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    said = yes > 0.5
    assert hits.tolist() == [2 * (said & (wanted == 1)).sum(), said.sum() + wanted.sum()]


def cross_entropy(logits: Tensor, targets: Tensor) -> float:
    right = np.take_along_axis(probabilities(logits), targets.numpy()[:, None].astype(int), axis=1)
    return float(-np.log(right).mean())


def divergence(teacher: Array, pupil: Array) -> float:
    return float((teacher * np.log(teacher / pupil)).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("shape", "targets"), [((6, 3), LABELS), ((6, 2, 4, 4), MASKS)], ids=["classes", "cells"]
)
@pytest.mark.parametrize("taught", [False, True])
def test_mutual_loss_is_zhangs_weighed(
    shape: tuple[int, ...], targets: Tensor, taught: bool
) -> None:
    """(1 - m) own + m T^2 mean over the others of KL(other || network); own has the teacher."""
    pupil = Said(**{name: draw(*shape, seed=n) for n, name in enumerate("abc")})
    teacher = Said(t=draw(*shape, seed=7))
    options: dict[str, Any] = {"ensemble": {"mutual": 0.3, "mutual_temperature": 2.0}}
    if taught:
        options["distillation"] = {"temperature": 3.0, "weight": 0.7}

    loss, _ = objective(teacher, **options)(pupil, IMAGES, targets)

    expected = 0.0
    for name, logits in pupil.logits.items():
        own = cross_entropy(logits, targets)
        if taught:
            said = divergence(probabilities(teacher.logits["t"], 3.0), probabilities(logits, 3.0))
            own = 0.3 * own + 0.7 * 9 * said
        mine = probabilities(logits, 2.0)
        others = [probabilities(z, 2.0) for n, z in pupil.logits.items() if n != name]
        expected += 0.7 * own + 0.3 * 4 * np.mean([divergence(each, mine) for each in others])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_others_get_no_gradient_from_what_a_network_learns_of_them() -> None:
    pupil = Said(one=draw(6, 3, seed=1), two=draw(6, 3, seed=2))

    loss, _ = objective(None, ensemble={"mutual": 1.0})(pupil, IMAGES, LABELS)
    loss.backward()

    one, two = (torch.from_numpy(probabilities(z)) for z in pupil.logits.values())
    # The gradient of KL(two || one) with respect to the logits of one, mean over images.
    assert torch.allclose(pupil.logits["one"].grad.double(), (one - two) / 6, atol=1e-6)
    assert torch.allclose(pupil.logits["two"].grad.double(), (two - one) / 6, atol=1e-6)


def test_loss_and_hits_are_those_of_the_networks_that_take_part() -> None:
    pupil = Said(**{name: draw(6, 3, seed=n) for n, name in enumerate("abc")})

    loss, hits = objective(None)(pupil, IMAGES, LABELS, ["a", "c"])

    alone = {name: pupil.logits[name] for name in "ac"}
    assert loss.item() == pytest.approx(sum(cross_entropy(z, LABELS) for z in alone.values()))
    said = np.mean([probabilities(z) for z in alone.values()], axis=0).argmax(axis=1)
    assert hits.tolist() == [(said == LABELS.numpy()).sum(), 6]


def test_networks_with_their_own_images_are_graded_and_taught_on_those() -> None:
    pupil = Said(one=draw(6, 3, seed=1), two=draw(6, 3, seed=2))
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    draws = torch.Generator().manual_seed(3)
    images = {
        name: torch.randint(256, IMAGES.shape, generator=draws, dtype=torch.uint8)
        for name in pupil.logits
    }
    labels = {"one": LABELS, "two": LABELS.flip(0).roll(1)}
    wanted = objective(teacher, distillation={"weight": 0.5, "temperature": 1.0})

    loss, hits = wanted(pupil, images, labels, ["one", "two"])

    expected, right = 0.0, 0
    for name, logits in pupil.logits.items():
        said = probabilities(teacher(images[name].float() / 255))
        apart = divergence(said, probabilities(logits))
        expected += 0.5 * cross_entropy(logits, labels[name]) + 0.5 * apart
        right += int((probabilities(logits).argmax(axis=1) == labels[name].numpy()).sum())
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert hits.tolist() == [right, 12]
