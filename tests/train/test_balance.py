"""Weights of classes, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from npas.data import Inputs
from npas.errors import InvalidSpecError
from npas.jobs.admission import admit
from npas.spec import JobSpec, TrainingSpec
from npas.tasks import loss
from npas.train import balance
from npas.train.objective import Objective
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

WEIGHTED = TrainingSpec(balance="weights")
LABELS = torch.tensor([0] * 50 + [1] * 5 + [3] * 20)


def test_weights_are_scikit_learns_and_have_mean_one_over_images():
    weights = balance.class_weights(WEIGHTED, LABELS, 4)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=LABELS.numpy())
    assert weights[[0, 1, 3]].tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert weights[2] == 0
    assert weights[LABELS].mean().item() == pytest.approx(1, rel=1e-6)
    assert balance.class_weights(TrainingSpec(), LABELS, 4) is None


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_loss_is_the_mean_over_images_and_the_sum_of_its_parts(smoothing):
    logits = torch.randn(75, 4, generator=torch.Generator().manual_seed(0))
    weights = balance.class_weights(WEIGHTED, LABELS, 4)

    found = loss(logits, LABELS, smoothing=smoothing, weights=weights)

    log_p = logits.double().log_softmax(1).numpy()
    right = -log_p[np.arange(75), LABELS.numpy()]
    each = (1 - smoothing) * right + smoothing * -log_p.mean(1)
    expected = (weights[LABELS].double().numpy() * each).mean()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    parts = [
        loss(logits[part], LABELS[part], smoothing=smoothing, weights=weights)
        for part in (slice(0, 25), slice(25, 50), slice(50, 75))
    ]
    assert sum(parts).item() / 3 == pytest.approx(found.item(), rel=1e-5)


class Constant(nn.Module):
    """Says the same of every image."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([2.0, 0.0]))

    def forward(self, x):
        return self.logits.expand(len(x), 2)


@pytest.mark.parametrize(("spec", "share"), [(TrainingSpec(), 0.9), (WEIGHTED, 0.5)])
def test_best_constant_answer_is_the_share_of_each_class_or_a_half(spec, share):
    labels = torch.tensor([0] * 90 + [1] * 10)
    scored = Objective(
        spec=spec,
        inputs=Inputs(mean=(0.0,), std=(1.0,), input_size=4),
        precision=torch.float32,
        class_weights=balance.class_weights(spec, labels, 2),
    )
    model, images = Constant(), torch.zeros(100, 1, 4, 4, dtype=torch.uint8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        scored(model, images, labels)[0].backward()
        optimizer.step()
    assert model.logits.softmax(0)[0].item() == pytest.approx(share, abs=0.01)


def test_trainer_weighs_what_it_trains_on(make_trainer):
    weighted, plain = make_trainer(balance="weights"), make_trainer()
    counts = weighted.batches.labels.bincount(minlength=10)
    assert len(weighted.batches.labels) == 135
    found = weighted.objective.class_weights * counts
    assert found.tolist() == pytest.approx([13.5] * 10, rel=1e-5)
    assert plain.objective.class_weights is None


def test_cells_have_no_classes_to_weigh():
    request = {
        "architecture": "grid-cnn-4-8",
        "budget": {"fraction": 1.0},
        "method": "dense",
        "dataset": "shortest-path",
        "training": {"balance": "weights"},
    }
    with pytest.raises(InvalidSpecError, match="balance 'weights' weighs the classes") as caught:
        admit(JobSpec.model_validate(request))
    assert caught.value.field == "/training/balance"
