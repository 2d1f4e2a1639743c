"""Testing at a larger size than is trained at."""

from typing import Any

import npas.data
import pytest
from npas.arch.matching import resolve_for
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, NetworkSpec, TrainingSpec
from npas.train.sizes import at_test_size, check_test_size, graded_inputs

DIGITS = npas.data.load("digits")


def networks(architecture: Any) -> tuple[NetworkSpec, ...]:
    spec = ArchitectureSpec.model_validate(architecture)
    return resolve_for([NetworkSpec(name="main", architecture=spec)], DIGITS)


@pytest.mark.parametrize("name", ["resnet-8", "wrn-10-1", "densenet-10-4", "resnext-11-2x8"])
def test_families_that_pool_take_any_larger_size(name: str) -> None:
    check_test_size(TrainingSpec(test_size=12), networks(name), "classes")


@pytest.mark.parametrize(
    ("name", "size", "told"),
    [
        ("vit-2-32-2", 16, "built for images of 8 pixels, does not run on others"),
        ("declared:lenet", 32, "does not run on others"),
        ("resnet-8", 8, "is not larger than 8, the size at which 'main' is trained"),
        ("resnet-8", 6, "is not larger than 8"),
    ],
)
def test_what_has_a_fixed_size_or_a_larger_one_is_refused(name: str, size: int, told: str) -> None:
    with pytest.raises(InvalidSpecError, match=told) as caught:
        check_test_size(TrainingSpec(test_size=size), networks(name), "classes")
    assert caught.value.field == "/training/test_size"


def test_cells_have_their_size() -> None:
    with pytest.raises(InvalidSpecError, match="asks for the cells"):
        check_test_size(TrainingSpec(test_size=12), networks("resnet-8"), "cells")


def test_inputs_are_of_that_size_where_it_was_asked_for() -> None:
    inputs = DIGITS.inputs()
    larger = graded_inputs(TrainingSpec(test_size=12), inputs)
    assert larger(DIGITS.x_test[:2]).shape == (2, 1, 12, 12)
    assert (larger.mean, larger.std) == (inputs.mean, inputs.std)
    assert graded_inputs(TrainingSpec(), inputs) is inputs


def test_networks_are_counted_at_that_size() -> None:
    own = networks("resnet-8")
    (larger,) = at_test_size(TrainingSpec(test_size=12), own)
    assert larger.architecture.input_size == 12
    assert at_test_size(TrainingSpec(), own) == own
