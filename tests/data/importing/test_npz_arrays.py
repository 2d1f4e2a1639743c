"""Arrays in an .npz: kept as they are, or fitted."""

import npas.data
import numpy as np
import pytest
from npas.data import ImageOptions
from npas.errors import DataError


def arrays(shape, dtype=np.uint8):
    draw = np.random.default_rng(1)
    made = {}
    for split, count in (("train", 20), ("test", 10)):
        pixels = draw.integers(0, 256, (count, *shape))
        made[f"x_{split}"] = (pixels if dtype == np.uint8 else pixels / 255).astype(dtype)
        made[f"y_{split}"] = np.arange(count) % 2
    return made


def imported(folder, **options):
    return npas.data.import_dataset(
        folder / "mine.npz",
        folder / "made.npz",
        format="npz",
        options=ImageOptions.model_validate(options),
    )


@pytest.mark.parametrize("shape", [(6, 9), (9, 6, 3), (3, 6, 9), (1, 9, 6)])
def test_images_that_are_not_square_are_cropped(tmp_path, shape):
    mine = arrays(shape)
    np.savez(tmp_path / "mine.npz", **mine)
    with pytest.raises(DataError, match="import_dataset makes images square"):
        npas.data.load("npz:mine", tmp_path)

    report = imported(tmp_path)

    made = npas.data.load(tmp_path / "made.npz")
    channels = 3 if 3 in shape else 1
    assert made.x_test.shape == (10, channels, 6, 6)
    assert made.fingerprint == report.fingerprint
    image = mine["x_test"][3]
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image.transpose(1, 2, 0)
    high, wide = image.shape[:2]
    if (high - wide) % 2:  # half pixels are averaged, so borders say nothing
        return
    inside = image[(high - 6) // 2 :, (wide - 6) // 2 :][:6, :6]
    assert np.array_equal(made.x_test[3].permute(1, 2, 0).numpy().squeeze(), inside.squeeze())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_are_bytes(tmp_path, dtype):
    np.savez(tmp_path / "mine.npz", **arrays((6, 6), dtype))
    np.savez(tmp_path / "same.npz", **arrays((6, 6)))
    same = npas.data.load("npz:same", tmp_path)
    assert npas.data.load("npz:mine", tmp_path).fingerprint == same.fingerprint
    assert npas.data.facts("npz:mine", tmp_path) == npas.data.facts("npz:same", tmp_path)
    assert imported(tmp_path).fingerprint == same.fingerprint


@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, np.nan, np.inf])
def test_other_floats_are_refused_with_what_to_do(tmp_path, value):
    mine = arrays((6, 6), np.float32)
    mine["x_test"][4, 2, 1] = value
    np.savez(tmp_path / "mine.npz", **mine)
    for read in (npas.data.load, npas.data.facts):
        with pytest.raises(DataError, match=r"x_test is float32 and runs from .*divide them"):
            read("npz:mine", tmp_path)


def test_validation_images_and_names_are_kept(tmp_path):
    mine = arrays((6, 6, 3))
    names = np.array(["b", "a", "never"])
    held = {"x_validation": mine["x_test"] // 2, "y_validation": mine["y_test"]}
    np.savez(tmp_path / "mine.npz", **mine, **held, class_names=names)

    for made in (npas.data.load("npz:mine", tmp_path), imported(tmp_path)):
        assert made.class_names == ("b", "a", "never")
    made = npas.data.load(tmp_path / "made.npz")
    assert made.num_classes == 3
    assert made.y_train.tolist() == mine["y_train"].tolist()
    assert np.array_equal(made.x_validation.permute(0, 2, 3, 1).numpy(), held["x_validation"])


def test_resizing_is_as_asked_and_splits_are_as_given(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays((6, 6, 3)))
    report = imported(tmp_path, image_size=4, channels=1)
    made = npas.data.load(tmp_path / "made.npz")
    assert made.x_train.shape == (20, 1, 4, 4)
    assert made.x_validation is None
    assert report.splits == "all splits as given"
    assert "4 x 4, 1 channels (as asked)" in report.rule


def test_channels_that_nobody_can_resize_are_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays((6, 6, 5)))
    with pytest.raises(DataError, match="5 channels cannot be resized"):
        imported(tmp_path, image_size=4)
    assert imported(tmp_path).facts["input_channels"] == 5
