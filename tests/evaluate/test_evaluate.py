import math

import numpy as np
import pytest
import torch
from npas.data import Inputs
from npas.errors import NonFiniteLossError
from npas.train.evaluate import Evaluation, evaluate
from torch import Tensor, nn


class Fixed(nn.Module):
    """Says what it is told: the first pixel of an image is its row in a table of logits."""

    def __init__(self, *tables: Tensor) -> None:
        super().__init__()
        self.tables = tables

    def members(self, x: Tensor) -> dict[str, Tensor]:
        rows = (x[:, 0, 0, 0] * 255).round().long()
        return {str(i): table[rows] for i, table in enumerate(self.tables)}


def score(model: nn.Module, labels: Tensor, batch_size: int = 7) -> Evaluation:
    images = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(len(labels))
    inputs = Inputs(mean=(0.0,), std=(1.0,), input_size=4)
    return evaluate(model, images, labels, inputs=inputs, batch_size=batch_size)


def by_hand(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Return top-1, top-5, NLL and ECE, image by image."""
    order = np.argsort(-probabilities, axis=1)
    right = order[:, 0] == labels
    in_five = (order[:, :5] == labels[:, None]).any(axis=1)
    nll = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    confidence = probabilities.max(axis=1)
    ece = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(right.mean()), float(in_five.mean()), float(nll), float(ece)


@pytest.mark.parametrize("networks", [1, 3])
def test_evaluate_agrees_with_a_count_by_hand(networks: int) -> None:
    draw = torch.Generator().manual_seed(0)
    tables = [torch.randn(200, 10, generator=draw) * 3 for _ in range(networks)]
    labels = torch.randint(10, (200,), generator=draw)

    result = score(Fixed(*tables), labels)

    mean = torch.stack([table.double().softmax(1) for table in tables]).mean(0)
    expected = by_hand(mean.numpy(), labels.numpy())
    assert (result.score, result.top5, result.nll, result.ece) == pytest.approx(expected, rel=1e-9)
    assert result.images == 200
    each = -mean[torch.arange(200), labels].log().numpy()
    assert result.losses is not None
    assert result.losses.numpy() == pytest.approx(each, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_evaluate_refuses_answers_that_are_no_numbers(value: float) -> None:
    table = torch.zeros(4, 10)
    table[2, 1] = value
    model = Fixed(table)
    model.train()

    with pytest.raises(NonFiniteLossError, match=r"answers are not numbers.*learning_rate"):
        score(model, torch.zeros(4, dtype=torch.long))

    assert model.training


def test_evaluate_does_not_depend_on_the_batch_size() -> None:
    draw = torch.Generator().manual_seed(1)
    table = torch.randn(100, 10, generator=draw)
    labels = torch.randint(10, (100,), generator=draw)

    one, many = (score(Fixed(table), labels, batch_size=size) for size in (100, 9))

    assert (one.score, one.top5) == (many.score, many.top5)
    assert (one.nll, one.ece) == pytest.approx((many.nll, many.ece), rel=1e-12)


def test_certain_and_right_is_perfect() -> None:
    labels = torch.arange(4)

    result = score(Fixed(torch.eye(4) * 1000), labels)

    assert result == Evaluation(metric="accuracy", score=1.0, top5=1.0, nll=0.0, ece=0.0, images=4)


def test_knowing_nothing_costs_the_log_of_the_classes() -> None:
    result = score(Fixed(torch.zeros(30, 3)), torch.arange(30) % 3)

    assert result.nll == pytest.approx(math.log(3))
    assert result.ece == pytest.approx(abs(result.score - 1 / 3), abs=1e-12)


def test_evaluate_uses_eval_mode_and_leaves_the_mode_alone() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    labels = torch.arange(30) % 3

    first, again = score(network, labels), score(network, labels)

    assert first == again
    assert network.training
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_evaluate_resizes_to_what_the_network_reads() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    images = torch.zeros(5, 1, 4, 4, dtype=torch.uint8)

    result = evaluate(
        network,
        images,
        torch.zeros(5, dtype=torch.int64),
        inputs=Inputs(mean=(0.0,), std=(1.0,), input_size=6),
    )

    assert result.images == 5


class Maps(nn.Module):
    """Like `Fixed`, but answers each cell: the first pixel of an image is its row in a stack."""

    def __init__(self, *maps: Tensor) -> None:
        super().__init__()
        self.maps = maps

    def members(self, x: Tensor) -> dict[str, Tensor]:
        rows = (x[:, 0, 0, 0] * 255).round().long()
        return {
            str(i): torch.stack([-z, z], 1) / 2 for i, z in enumerate(m[rows] for m in self.maps)
        }


@pytest.mark.parametrize("networks", [1, 2])
def test_cells_agree_with_a_count_by_hand(networks: int) -> None:
    draw = torch.Generator().manual_seed(0)
    maps = [torch.randn(20, 4, 4, generator=draw) * 2 for _ in range(networks)]
    masks = (torch.rand(20, 4, 4, generator=draw) < 0.3).to(torch.uint8)

    result = score(Maps(*maps), masks)

    yes = np.mean([1 / (1 + np.exp(-m.double().numpy())) for m in maps], axis=0)
    wanted, said = masks.numpy() == 1, yes > 0.5
    precision, recall = (said & wanted).sum() / said.sum(), (said & wanted).sum() / wanted.sum()
    assert result.metric == "f1"
    assert (result.precision, result.recall) == pytest.approx((precision, recall), rel=1e-12)
    assert result.score == pytest.approx(2 * precision * recall / (precision + recall), rel=1e-12)
    nll = -np.log(np.where(wanted, yes, 1 - yes))
    assert result.nll == pytest.approx(nll.mean(), rel=1e-6)
    assert result.losses is not None
    assert result.losses.numpy() == pytest.approx(nll.mean(axis=(1, 2)), rel=1e-5)
    assert result.top5 is None
    assert result.images == 20


def test_cells_never_said_yes_score_zero() -> None:
    masks = torch.ones(3, 4, 4, dtype=torch.uint8)

    result = score(Maps(torch.full((3, 4, 4), -9.0)), masks)

    assert (result.score, result.precision, result.recall) == (0.0, 0.0, 0.0)
