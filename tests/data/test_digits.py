"""The digits that come along are scikit-learn's, in the split that every release had."""

import numpy as np
import pytest
from npas import data
from npas.data import digits
from npas.data.digits import FACTS, FILE
from npas.errors import DataError
from sklearn import datasets, model_selection

FINGERPRINT = "cbffa3c31df22e26998066dcea1c9c1879331e8a5e4d9f74b662d3d5e95a2738"


def test_file_is_what_scikit_learn_has_in_its_stratified_split():
    images, labels = datasets.load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images.reshape(-1, 8, 8), labels, test_size=360, random_state=0, stratify=labels
    )
    with np.load(FILE) as stored:
        assert sorted(stored) == ["x_test", "x_train", "y_test", "y_train"]
        for name, expected in (("x_train", x_train), ("x_test", x_test)):
            assert stored[name].dtype == np.uint8
            assert np.array_equal(stored[name], expected)
        assert np.array_equal(stored["y_train"], y_train)
        assert np.array_equal(stored["y_test"], y_test)


def test_pixels_and_fingerprint_are_those_of_every_release():
    found = data.load("digits")
    assert found.x_train.shape == (FACTS.num_train, 1, 8, 8)
    assert found.x_test.shape == (FACTS.num_test, 1, 8, 8)
    assert (int(found.x_train.min()), int(found.x_train.max())) == (0, 255)
    assert found.fingerprint == FINGERPRINT


@pytest.mark.parametrize("content", [None, b"", b"text", FILE.read_bytes()[:-100]])
def test_damaged_installation_is_told_in_words(content, tmp_path, monkeypatch):
    damaged = tmp_path / "digits.npz"
    if content is not None:
        damaged.write_bytes(content)
    monkeypatch.setattr(digits, "FILE", damaged)
    with pytest.raises(DataError, match="install npas again"):
        digits.SOURCE.read(tmp_path, "")
