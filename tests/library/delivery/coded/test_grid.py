"""Rounding goes to the nearest, and steps follow what an error costs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.delivery.coded.grid import (
    MOST_DIGITS,
    Grid,
    by_gradients,
    deviation,
    grid,
    scales,
    shortened,
)
from npas.delivery.coded.layout import laid_out, taken_out
from npas.plans.rounding import COARSEST, FINEST

LAWS = settings(deadline=None, derandomize=True, max_examples=200)


@LAWS
@given(
    st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), st.integers(1, MOST_DIGITS)
)
def test_shortened_is_the_nearest_number_of_so_many_digits(value, digits):
    found = float(shortened(torch.tensor([value]), digits)[0])
    assert abs(found - value) <= abs(value) * 2.0 ** -(digits + 1)
    mantissa, _ = math.frexp(found)
    assert (mantissa * 2.0 ** (digits + 1)).is_integer()


def test_rounded_is_whole_steps_and_leaves_whole_numbers_alone():
    found = Grid(steps={"w": 0.5}, digits=2)
    weights = found.rounded("w", torch.tensor([0.2, -0.2, 0.3, -1.6]))
    assert weights.tolist() == [0.0, 0.0, 0.5, -1.5]
    assert found.rounded("b", torch.tensor([1.2])).tolist() == [1.25]
    assert found.rounded("n", torch.tensor([7])).tolist() == [7]
    assert torch.equal(found.rounded("w", weights), weights)
    assert Grid(**found.facts()) == found


def test_a_template_of_four_readers_has_half_the_step():
    tensors = {"a": torch.full((2, 8), 3.0), "b": torch.full((2, 8), -3.0)}
    found = scales(tensors, {"b": 4.0})
    assert found["a"] == 2 * found["b"] == pytest.approx(deviation(tensors["a"]))


def test_gradients_decide_where_they_are_known():
    found = by_gradients({"a": 1.0, "b": 4.0, "c": 9.0}, {"a": 1.0, "b": 4.0})
    assert found["a"] == pytest.approx(2 * found["b"])
    assert found["a"] * found["b"] == pytest.approx(4.0)  # as large in the mean as before
    assert found["c"] == 9.0


@pytest.mark.parametrize("size", [1e-30, 1e-38, 1e-41, 1e-44])
def test_weights_that_are_no_normal_numbers_are_rounded(size):
    weights = torch.tensor([-1.0, 0.5, 1.0]) * size
    found = grid(1 / 4096, {"w": deviation(weights)}, {"w": deviation(weights)})
    table, streams = laid_out({"w": weights}, found)
    off = (taken_out(table, streams)["w"].double() - weights.double()).abs().max()
    assert off <= 0.501 * found.steps["w"]


@LAWS
@given(st.floats(1e-9, 1e9))
def test_steps_stay_within_what_is_sensible(factor):
    found = grid(factor, {"a": 1.0, "b": 0.0}, {"a": 2.0, "b": 0.0})
    assert 0.999 * FINEST * 2 <= found.steps["a"] <= 1.001 * COARSEST * 2
    assert found.steps["b"] == 1.0
