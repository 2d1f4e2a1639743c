"""Scores against NumPy, cell by cell; the envelope against all pairs."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from npas.ensembles.calibration import BINS, binned, calibration_error
from npas.ensembles.envelope import envelope
from npas.ensembles.predictions import predictions
from npas.ensembles.scores import disagreement, diversity, mean_disagreement, score
from torch import nn


def test_score_is_what_its_equations_say(said):
    found = said({"a": 1.0})
    p = found.log_p["a"].double().exp().numpy()
    labels = found.labels.numpy()
    confidence, hits = p.max(1), p.argmax(1) == labels
    gap = 0.0
    for low in range(BINS):
        inside = (confidence > low / BINS) & (confidence <= (low + 1) / BINS)
        if inside.any():
            gap += abs(hits[inside].mean() - confidence[inside].mean()) * inside.mean()
    got = score(found.log_p["a"], found.labels)
    assert got.accuracy == hits.mean()
    assert got.nll == pytest.approx(-np.log(p[np.arange(len(p)), labels]).mean(), rel=1e-6)
    assert got.ece == pytest.approx(gap, rel=1e-5)


def test_together_is_the_mean_of_probabilities(said):
    found = said({"a": 1.0, "b": 0.5, "c": 2.0})
    mean = sum(found.log_p[name].double().exp() for name in "ac") / 2
    assert torch.allclose(found.together(["a", "c"]).exp(), mean, atol=1e-6)


def test_bins_add_up_over_parts(said):
    found = said({"a": 1.0})
    best = found.log_p["a"].double().max(1)
    hits = best.indices == found.labels
    whole = binned(best.values.exp(), hits)
    parts = sum(
        binned(best.values.exp()[part], hits[part]) for part in (slice(99), slice(99, None))
    )
    assert torch.allclose(whole, parts, rtol=1e-12)
    assert whole[0].sum() == len(found.labels)
    assert calibration_error(whole) == pytest.approx(score(found.log_p["a"], found.labels).ece)


def test_disagreement_and_diversity(said):
    found = said({"a": 1.0, "b": 0.5, "c": 2.0})
    best = {name: log_p.argmax(1) for name, log_p in found.log_p.items()}
    apart = [
        (best[one] != best[two]).double().mean().item()
        for one, two in itertools.combinations("abc", 2)
    ]
    assert disagreement(found, "a", "b") == apart[0]
    assert mean_disagreement(found, "abc") == pytest.approx(sum(apart) / 3)
    together = sum(log_p.exp() for log_p in found.log_p.values()).argmax(1)
    error = (together != found.labels).double().mean().item()
    assert diversity(sum(apart) / 3, 1 - error) == pytest.approx(sum(apart) / 3 / error)
    assert mean_disagreement(found, "a") is diversity(None, 0.5) is diversity(0.1, 1.0) is None


class _Doubled(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] * (2 if self.training else 1)


def test_predictions_ask_in_evaluation_mode_and_leave_the_mode():
    network, images = _Doubled().train(), torch.randint(255, (7, 1, 2, 2), dtype=torch.uint8)
    labels = torch.zeros(7, dtype=torch.long)
    found = predictions(
        {"a": network}, images, labels, inputs=lambda x: x.float() / 255, batch_size=3
    )
    wanted = (images.flatten(1)[:, :3] / 255.0).log_softmax(1)
    assert torch.allclose(found.log_p["a"], wanted, atol=1e-6)
    assert network.training
    assert found.names == ("a",)


points = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(points)
def test_envelope_is_what_no_point_beats(all_points):
    on = envelope(all_points)
    for index, (cost, value) in enumerate(all_points):
        is_beaten = any(
            c <= cost and v >= value and (c, v) != (cost, value) for c, v in all_points
        )
        is_first = all_points.index((cost, value)) == index
        assert (index in on) == (not is_beaten and is_first)
    assert [all_points[i] for i in on] == sorted(all_points[i] for i in on)
