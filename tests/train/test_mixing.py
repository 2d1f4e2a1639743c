"""Mixed images and labels against the formulas, and what is minimised with them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from npas import seeds
from npas.spec import TrainingSpec
from npas.tasks import loss, task_of
from npas.train import Command, Trainer
from npas.train.mixing import Mixing, mixing
from torch.nn import functional

MakeTrainer = Callable[..., Trainer]
IMAGES = torch.randint(1, 256, (32, 3, 8, 8), generator=seeds.generator("images")).byte()
LABELS = torch.arange(32) % 7


def mixed(mix: Mixing, place: int = 0) -> Any:
    return mix(IMAGES, LABELS, 10, seeds.generator("mixed", place))


def partners(place: int) -> torch.Tensor:
    return torch.randperm(32, generator=seeds.generator("mixed", place))


def kept(shares: torch.Tensor, others: torch.Tensor) -> float:
    """Return what is left of every image: one number for all whose partner is of another class."""
    apart = others != LABELS
    own = shares.gather(1, LABELS[:, None])[:, 0]
    torch.testing.assert_close(own[apart], own[apart][0].expand(int(apart.sum())))
    assert bool((own[~apart] == 1).all())
    return float(own[apart][0])


@pytest.mark.parametrize("place", range(5))
def test_mixup_blends_images_as_it_blends_labels(place: int) -> None:
    images, shares = mixed(Mixing(mixup=1.0, cutmix=0.0), place)
    others = partners(place)
    share = kept(shares, LABELS[others])
    expected = share * IMAGES.double() + (1 - share) * IMAGES[others].double()
    torch.testing.assert_close(images.double(), expected, rtol=1e-5, atol=1e-3)
    wanted = share * functional.one_hot(LABELS, 10) + (1 - share) * functional.one_hot(
        LABELS[others], 10
    )
    torch.testing.assert_close(shares, wanted)


@pytest.mark.parametrize("place", range(5))
def test_cutmix_counts_the_pixels_that_are_left(place: int) -> None:
    images, shares = mixed(Mixing(mixup=0.0, cutmix=1.0), place)
    others = partners(place)
    is_own, is_others = ((images == each).all(dim=(0, 1)) for each in (IMAGES, IMAGES[others]))
    assert images.dtype == torch.uint8
    assert bool((is_own | is_others).all())
    rows, columns = is_others.any(dim=1), is_others.any(dim=0)
    assert torch.equal(is_others, rows[:, None] & columns[None, :])
    left = float(is_own.double().mean())
    assert kept(shares, LABELS[others]) == pytest.approx(left)


def test_a_coin_says_which_of_both() -> None:
    both = Mixing(mixup=0.4, cutmix=1.0)
    kinds = [mixed(both, place)[0].dtype for place in range(40)]
    assert 8 < kinds.count(torch.uint8) < 32


def test_share_that_is_kept_is_of_the_beta() -> None:
    mix = Mixing(mixup=0.2, cutmix=0.0)
    found = []
    for place in range(300):
        _, shares = mixed(mix, place)
        found.append(kept(shares, LABELS[partners(place)]))
    share = torch.tensor(found, dtype=torch.float64)
    assert share.mean() == pytest.approx(0.5, abs=0.08)
    assert share.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.03)


def test_the_same_place_mixes_the_same() -> None:
    both = Mixing(mixup=0.4, cutmix=1.0)
    one, again, other = (mixed(both, place) for place in (3, 3, 4))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_weighed", [False, True])
def test_loss_is_that_of_both_labels_by_their_shares(smoothing: float, is_weighed: bool) -> None:
    draw = seeds.generator("loss")
    logits = torch.randn(32, 10, generator=draw)
    weights = torch.rand(10, generator=draw) if is_weighed else None
    _, shares = mixed(Mixing(mixup=1.0, cutmix=0.0), 2)
    others = LABELS[partners(2)]
    share = kept(shares, others)
    options: Any = {"smoothing": smoothing, "weights": weights}
    expected = share * loss(logits, LABELS, **options)
    expected += (1 - share) * loss(logits, others, **options)
    torch.testing.assert_close(loss(logits, shares, **options), expected)


def test_answer_is_right_that_names_the_larger_share() -> None:
    shares = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]])
    said = torch.eye(3)[[0, 1, 0]].log()
    task = task_of(shares)
    assert task.name == "classes"
    assert task.hits(said, shares).tolist() == [2, 3]


def test_nothing_is_mixed_where_nothing_was_asked_for() -> None:
    assert mixing(TrainingSpec()) is None


def run_on(trainer: Trainer) -> None:
    trainer.train(after_step=lambda: Command.CONTINUE, after_epoch=lambda _: None)


@pytest.mark.parametrize(
    "changes", [{}, {"balance": "weights", "label_smoothing": 0.1}], ids=["plain", "weighed"]
)
def test_training_with_mixed_images_learns(make_trainer: MakeTrainer, changes: Any) -> None:
    trainer = make_trainer(epochs=30, mixup=0.2, cutmix=1.0, **changes)
    run_on(trainer)
    first, last = trainer.rows[0], trainer.rows[-1]
    assert last.train_loss < first.train_loss
    assert last.train_accuracy > 0.4  # chance is 0.1
    assert (last.validation_accuracy or 0) > 0.4
