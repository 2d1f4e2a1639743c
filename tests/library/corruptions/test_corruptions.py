"""What holds for every corruption: shapes, chance, severities, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import registry
from npas.corruptions import NAMES, SEVERITIES, corrupt, find
from npas.errors import DataError, InvalidSpecError, UnknownNameError
from npas.testing.effort import Effort, tried

WITHOUT_CHANCE = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
}
ORDERS = {
    "glass_blur": (3, 1, 4),
    "motion_blur": (1, 2, 3, 5),
    "snow": (1, 2, 4, 5),
    "frost": (1, 2, 3),
    "elastic_transform": (5, 4, 3, 2, 1),
}
"""Severities by growing distance, where that is not 1 to 5: so are the paper's constants."""


def distances(images, name):
    """The mean distance of a byte from the clean one, for each severity."""
    return [
        (corrupt(images, name, severity).float() - images).abs().mean().item()
        for severity in SEVERITIES
    ]


def test_names_are_the_files():
    assert len(NAMES) == 15
    assert sorted(NAMES) == list(registry.names("npas.corruptions"))
    assert all(len(find(name).constants) == len(SEVERITIES) for name in NAMES)


def holds(data):
    """An image is corrupted alone as among others, to the byte, and is itself left as it is."""
    name, severity = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(SEVERITIES))
    count, channels = data.draw(st.integers(0, 5)), data.draw(st.sampled_from((1, 3)))
    side, seed = data.draw(st.integers(8, 70)), data.draw(st.integers(0, 2**32))
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, channels, side, side), generator=draw, dtype=torch.uint8)
    before = images.clone()
    found = corrupt(images, name, severity, seed=seed, first=7)
    assert found.dtype == torch.uint8
    assert found.shape == images.shape
    assert torch.equal(images, before)
    for index in range(count):
        alone = corrupt(images[index : index + 1], name, severity, seed=seed, first=7 + index)
        assert torch.equal(alone[0], found[index])


def test_corrupt_keeps_shapes_and_knows_each_image_by_its_index():
    tried(holds, 300, Effort())


@pytest.mark.parametrize("name", NAMES)
def test_corrupt_does_in_parts_what_it_does_at_once(name, digits):
    images = digits.repeat(6, 1, 1, 1)[:135]
    found = corrupt(images, name, 3, seed=5)
    parts = [corrupt(images[at : at + 50], name, 3, seed=5, first=at) for at in (0, 50, 100)]
    assert torch.equal(torch.cat(parts), found)
    assert torch.equal(corrupt(images.mT.contiguous().mT, name, 3, seed=5), found)


@pytest.mark.parametrize("name", NAMES)
def test_corrupt_draws_for_seed_and_image(name, pictures):
    same = pictures[:1].expand(6, -1, -1, -1)
    found, other = corrupt(same, name, 3, seed=1), corrupt(same, name, 3, seed=2)
    is_alike = [torch.equal(found[0], found[index]) for index in range(1, 6)]
    assert torch.equal(corrupt(same, name, 3, seed=1), found)
    assert is_alike == [name in WITHOUT_CHANCE] * 5
    assert torch.equal(found, other) == (name in WITHOUT_CHANCE)


@pytest.mark.parametrize("name", NAMES)
def test_distance_grows_with_severity(name, pictures):
    found = distances(pictures.repeat(3, 1, 1, 1), name)
    ordered = [found[severity - 1] for severity in ORDERS.get(name, SEVERITIES)]
    assert ordered[0] > 0
    assert ordered == sorted(set(ordered))


@pytest.mark.parametrize("name", NAMES)
def test_small_grey_images_are_changed_by_all(name, digits):
    found = distances(digits, name)
    assert min(found) > 0.5


def test_name_may_be_written_with_dashes(digits):
    assert torch.equal(corrupt(digits, "shot-noise", 2), corrupt(digits, "shot_noise", 2))


def test_unknown_name_is_refused_with_the_nearest(digits):
    with pytest.raises(UnknownNameError, match="unknown corruption 'frog': did you mean fog"):
        corrupt(digits, "frog", 1)


@settings(deadline=None, derandomize=True, database=None, max_examples=20)
@given(st.integers().filter(lambda severity: severity not in SEVERITIES))
def test_severity_out_of_range_is_refused(severity):
    with pytest.raises(InvalidSpecError, match="from 1 to 5"):
        corrupt(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "fog", severity)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 3, 8, 8), torch.float32),
        ((3, 8, 8), torch.uint8),
        ((1, 2, 8, 8), torch.uint8),
        ((1, 8, 8, 3), torch.uint8),
        ((1, 3, 8, 9), torch.uint8),
        ((1, 3, 7, 7), torch.uint8),
    ],
)
def test_images_of_another_kind_are_refused(shape, dtype):
    with pytest.raises(DataError, match="to be corrupted they must be"):
        corrupt(torch.zeros(shape, dtype=dtype), "fog", 1)
