import numpy as np
import pytest
import torch
from npas.train.confusion import MOST_CLASSES, MOST_PAIRS, confusion
from sklearn.metrics import confusion_matrix, f1_score


def answers(classes, count=500):
    draw = np.random.default_rng(classes)
    labels, said = draw.integers(0, classes, (2, count))
    return labels, np.where(draw.random(count) < 0.5, labels, said)


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_confusion_agrees_with_scikit_learn(classes):
    labels, said = answers(classes)
    found = confusion(torch.tensor(labels), torch.tensor(said), classes)
    expected = confusion_matrix(labels, said, labels=range(classes))
    assert np.array_equal(np.array(found.counts), expected)
    assert found.macro_f1 == pytest.approx(f1_score(labels, said, average="macro"), rel=1e-12)
    wrong = expected.copy()
    np.fill_diagonal(wrong, 0)
    assert [n for _, _, n in found.pairs] == sorted(wrong[wrong > 0], reverse=True)[:MOST_PAIRS]
    assert all(wrong[right, taken] == n for right, taken, n in found.pairs)


def test_classes_that_nobody_saw_or_said_do_not_count():
    labels, said = torch.tensor([0, 0, 2, 2]), torch.tensor([0, 2, 2, 2])
    found = confusion(labels, said, 5)
    wanted = f1_score(labels.numpy(), said.numpy(), average="macro")
    assert found.macro_f1 == pytest.approx(wanted)


def test_many_classes_take_no_matrix():
    labels, said = answers(50_000)
    found = confusion(torch.tensor(labels), torch.tensor(said), 50_000)
    assert found.counts is None
    assert len(found.pairs) == MOST_PAIRS
    assert found.macro_f1 == pytest.approx(f1_score(labels, said, average="macro"), rel=1e-12)
    assert MOST_CLASSES == 100
