"""How much is measured: never more than allowed, all layers if it can be, large ones first."""

import math

import npas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from npas.delivery.measuring import NOTHING, Images, effort

PLAN = npas.plan("resnet-20", budget={"fraction": 0.3}, method="uniform")
DENSE = npas.plan("resnet-20", budget={"fraction": 1.0}, method="dense")
SLOTS = {slot.key: slot.shape for group in PLAN.groups for slot in group.slots}

counts = st.builds(
    Images,
    learned=st.integers(0, 5000),
    held_out=st.integers(0, 2000),
    batch=st.integers(2, 512),
)


@given(images=counts, allowed=st.floats(0, 5000))
def test_no_more_is_measured_than_is_allowed_and_no_image_is_used_twice(images, allowed):
    found = effort(PLAN, images, allowed)
    assert found.cost <= allowed
    assert set(found.layers) <= SLOTS.keys()
    if not found.layers:
        assert found == NOTHING
        return
    assert found.steps >= 1
    assert min(found.step_images, found.images) >= 1
    if images.held_out:
        assert found.images <= images.held_out
        assert found.step_images <= images.learned
    else:
        assert found.images + found.step_images <= images.learned


@given(images=counts, allowed=st.floats(0, 5000), more=st.floats(0, 1000))
def test_more_time_measures_as_many_layers_or_more(images, allowed, more):
    less, most = effort(PLAN, images, allowed), effort(PLAN, images, allowed + more)
    assert len(less.layers) <= len(most.layers)


@pytest.mark.parametrize("allowed", [10, 20, 30])
def test_the_largest_layers_come_first(allowed):
    found = effort(PLAN, Images(learned=1000, held_out=100, batch=64), allowed)
    sizes = {key: math.prod(shape) for key, shape in SLOTS.items()}
    left_out = [size for key, size in sizes.items() if key not in found.layers]
    assert 0 < len(found.layers) < len(SLOTS)
    assert min(sizes[key] for key in found.layers) >= max(left_out)


def test_a_long_training_measures_all_with_many_images():
    found = effort(PLAN, Images(learned=45_000, held_out=5000, batch=128), 0.05 * 70_000)
    assert set(found.layers) == SLOTS.keys()
    assert (found.steps, found.step_images, found.images) == (4, 512, 2048)


def test_nothing_is_measured_where_nothing_shares_or_there_are_no_images():
    assert effort(DENSE, Images(learned=1000, held_out=100, batch=64), 1e6) == NOTHING
    assert effort(PLAN, Images(learned=1, held_out=0, batch=64), 1e6) == NOTHING
    assert effort(PLAN, Images(learned=1000, held_out=100, batch=64), 0.0) == NOTHING
