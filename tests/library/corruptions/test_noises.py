"""Noise has the deviation, and the share, that its constants say."""

import pytest
import torch
from npas.corruptions import SEVERITIES, corrupt, find

GREY = torch.full((16, 3, 32, 32), 128, dtype=torch.uint8)
LEVEL = 128 / 255


def deviation_and_mean(name, severity):
    found = corrupt(GREY, name, severity).double() / 255
    return found.std().item(), found.mean().item()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_noise_has_its_deviation(severity):
    wanted = find("gaussian_noise").constants[severity - 1]
    deviation, mean = deviation_and_mean("gaussian_noise", severity)
    assert deviation == pytest.approx(wanted, rel=0.02)  # four errors of 49,152 draws
    assert mean == pytest.approx(LEVEL, abs=wanted * 0.02)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_has_the_deviation_of_counts(severity):
    wanted = (LEVEL / find("shot_noise").constants[severity - 1]) ** 0.5
    deviation, mean = deviation_and_mean("shot_noise", severity)
    assert deviation == pytest.approx(wanted, rel=0.02)
    assert mean == pytest.approx(LEVEL, abs=wanted * 0.02)


def test_shot_noise_leaves_black_as_it_is():
    assert not corrupt(torch.zeros_like(GREY), "shot_noise", 5).any()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_makes_its_share_black_or_white(severity):
    share = find("impulse_noise").constants[severity - 1]
    found = corrupt(GREY, "impulse_noise", severity)
    values = {value: (found == value).float().mean().item() for value in found.unique().tolist()}
    assert sorted(values) == [0, 128, 255]
    error = 4 * (share / 2 / found.numel()) ** 0.5
    assert values[0] == pytest.approx(share / 2, abs=error)
    assert values[255] == pytest.approx(share / 2, abs=error)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise"])
def test_noise_of_values_is_independent(name):
    found = corrupt(GREY, name, 5).double() - 128
    for shifted in (found.roll(1, 0), found.roll(1, 1), found.roll(1, 2), found.roll(1, 3)):
        correlation = (found * shifted).mean() / (found * found).mean()
        assert abs(correlation) < 0.03  # six errors
