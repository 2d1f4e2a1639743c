"""One rule for images of all sizes."""

import numpy as np
import pytest
from npas.data._importing.fitting import chosen_size, fitted
from PIL import Image


def bars(width, height):
    """Return an image whose columns say where they are."""
    row = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.repeat(row[None], height, axis=0))


def test_crop_takes_the_square_in_the_middle():
    found = fitted(bars(30, 10), 10, "crop")
    assert found.shape == (1, 10, 10)
    assert np.array_equal(found[0], np.asarray(bars(30, 10))[:, 10:20])


def test_pad_keeps_all_between_black_bars():
    wide = fitted(bars(30, 10), 30, "pad")[0]
    assert np.array_equal(wide[10:20], np.asarray(bars(30, 10)))
    assert not wide[:10].any()
    assert not wide[20:].any()
    high = fitted(bars(30, 10).transpose(Image.Transpose.ROTATE_90), 30, "pad")[0]
    assert not high[:, :10].any()


def test_stretch_gives_up_the_shape():
    found = fitted(bars(30, 10), 10, "stretch")[0]
    assert found[5, 0] < 20
    assert found[5, -1] > 235


def test_smaller_images_are_means_of_larger_ones():
    """Antialiased: a fine pattern becomes grey, not a coarse pattern."""
    fine = Image.fromarray(np.uint8(np.indices((64, 64)).sum(0) % 2 * 255))
    found = fitted(fine, 8, "crop")[0].astype(int)
    assert np.abs(found - 127).max() <= 8


def test_very_long_images_take_no_memory_of_their_length():
    found = fitted(Image.new("RGB", (400_000, 4), "red"), 512, "crop")
    assert found.shape == (3, 512, 512)
    assert fitted(Image.new("RGB", (400_000, 4), "red"), 32, "pad").shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("shorter", "size"),
    [([28, 28], 28), ([8], 8), ([1, 2], 4), ([500], 224), ([100, 100, 999], 96), ([70], 64)],
)
def test_size_that_is_chosen_follows_from_the_median(shorter, size):
    found, why = chosen_size(shorter)
    assert found == size
    assert f"median of the shorter sides is {sorted(shorter)[(len(shorter) - 1) // 2]}" in why
