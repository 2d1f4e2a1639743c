"""What steps cost in bits."""

import math

import pytest
import torch
from npas.plans.rounding import COARSEST, FINEST, bits_of, is_weight, step_for


@pytest.mark.parametrize("step", [0.05, 0.3, 1.0, 2.0, 3.5])
def test_bits_are_those_of_normal_numbers_that_are_rounded(step):
    numbers = torch.randn(400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, counts = torch.unique(torch.round(numbers / step), return_counts=True)
    shares = counts / counts.sum()
    assert bits_of(step) == pytest.approx(-float((shares * shares.log2()).sum()), abs=0.01)


def test_halving_fine_steps_costs_a_bit():
    assert bits_of(1 / 64) - bits_of(1 / 32) == pytest.approx(1, abs=1e-6)
    assert bits_of(0.124) == pytest.approx(bits_of(0.126), abs=0.03)


@pytest.mark.parametrize("bits", [0.5, 2.5, 4.0, 9.0])
def test_step_for_bits_has_those(bits):
    assert bits_of(step_for(bits)) == pytest.approx(bits, abs=0.01)


def test_steps_are_within_what_is_sensible():
    assert math.isclose(step_for(100), FINEST, rel_tol=1e-3)
    assert step_for(0.0) == COARSEST


def test_weights_are_templates_and_layers_not_coefficients_or_norms():
    assert is_weight("groups.g0.templates.0", "torch.float32", 2, is_buffer=False)
    assert is_weight("networks.0.conv.weight", "torch.float32", 4, is_buffer=False)
    assert not is_weight("groups.g0.coefficients.0", "torch.float32", 2, is_buffer=False)
    assert not is_weight("networks.0.norm.weight", "torch.float32", 1, is_buffer=False)
    assert not is_weight("networks.0.index", "torch.int64", 2, is_buffer=False)
    assert not is_weight("networks.0.mask", "torch.float32", 2, is_buffer=True)
