"""Averages, mixed inputs, Muon and the like in `npas.fit`, on modules of a user's own."""

import threading
from typing import Any

import npas
import pytest
import torch
from npas.errors import InvalidSpecError
from torch import Tensor, nn
from torch.nn import functional

SHORT: dict[str, Any] = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02}


def looking(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def images(count: int = 64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 4
    pictures = torch.randn(count, 1, 6, 6, generator=draw) + labels.view(-1, 1, 1, 1)
    return pictures, labels


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


ALL = {
    **SHORT,
    "average": "ema",
    "mixup": 0.2,
    "cutmix": 1.0,
    "random_erasing": 0.3,
    "optimizer": "muon",
    "clip_norm": 1.0,
    "label_smoothing": 0.1,
    "balance": "weights",
}


@pytest.mark.parametrize("is_shared", [False, True])
def test_all_options_train_the_same_twice(is_shared: bool) -> None:
    found = []
    for _ in range(2):
        model = looking()
        if is_shared:
            plan = npas.plan(model, budget={"fraction": 0.9}, example=(images()[0],))
            model = npas.share(model, plan)
        done = npas.fit(model, images(), images(), seed=3, **ALL)
        found.append((state(model), done.test_accuracy, done.rows[-1].train_accuracy))
    assert found[0][1:] == found[1][1:]
    assert all(torch.equal(each, found[1][0][name]) for name, each in found[0][0].items())


def test_what_is_delivered_is_the_average() -> None:
    model, plain = looking(), looking()
    options: dict[str, Any] = {**SHORT, "keep": "last", "validation_fraction": 0.0}
    taken: list[Tensor] = []
    weight = plain[0].weight
    handle = plain[0].register_forward_pre_hook(lambda *_: taken.append(weight.detach().clone()))
    npas.fit(plain, images(), **options)
    handle.remove()
    npas.fit(model, images(), average={"kind": "swa", "start": 0.5}, **options)
    half = len(taken) // 2  # each is seen before its own step
    expected = torch.stack([*taken[half + 1 :], weight.detach()]).double().mean(dim=0)
    torch.testing.assert_close(model[0].weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert int(model[1].num_batches_tracked) == 1  # measured anew


def test_grades_are_of_the_average() -> None:
    model = looking()
    held_out = images(32)
    done = npas.fit(model, images(), held_out, validation=held_out, average="ema", **SHORT)
    row = done.rows[done.best_epoch - 1]
    assert (done.test_loss, done.test_accuracy) == (row.validation_loss, row.validation_accuracy)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mixup": 0.2, "loss": functional.cross_entropy}, "leave out loss"),
        ({"augment": "trivial"}, 'give augment="none"'),
        ({"recipe": "best", "epochs": 40}, 'give augment="none"'),
        ({"test_size": 12}, "test_size is for jobs"),
        ({"average": {"kind": "swa", "decay": 0.9}}, 'decay is of "ema"'),
        ({"average": "mean"}, "option average of fit: Input should be 'ema' or 'swa'"),
        ({"recipe": "worst"}, "option recipe of fit"),
    ],
)
def test_what_does_not_suit_is_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidSpecError, match=match):
        npas.fit(looking(), images(), **{"epochs": 1} | options)


def test_labels_and_inputs_that_cannot_be_mixed_are_refused() -> None:
    pictures, labels = images()
    with pytest.raises(InvalidSpecError, match="mixup: these are for one input of images"):
        npas.fit(nn.Linear(6, 4), (pictures[:, 0, 0], labels), epochs=1, mixup=0.2)
    with pytest.raises(InvalidSpecError, match="are for classes, labels from 0"):
        npas.fit(looking(), (pictures, labels - 100), epochs=1, cutmix=0.2)


def test_module_that_cannot_be_copied_is_not_averaged() -> None:
    model = looking()
    model.lock = threading.Lock()  # type: ignore[assignment]  # what no copy has
    with pytest.raises(InvalidSpecError, match="average keeps a copy of the module"):
        npas.fit(model, images(), average="ema", **SHORT)
