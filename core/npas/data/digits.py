"""Handwritten digits, 8x8 grey: comes along, so it is there without a download.

digits.npz holds the 1,797 images of Alpaydin and Kaynak, "Optical Recognition of Handwritten
Digits", UCI Machine Learning Repository, 1998 (CC BY 4.0), the part that scikit-learn has, in a
fixed, stratified split; grey is 0..16. tests/data/test_digits.py makes it again.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from npas.data._arrays import Arrays, Facts
from npas.data._source import Source
from npas.errors import DataError

FACTS = Facts(num_classes=10, input_channels=1, input_size=8, num_train=1437, num_test=360)
FILE = Path(__file__).with_name("digits.npz")


def _read(_folder: Path, _argument: str) -> Arrays:
    """Return the images and labels of both splits; grey 0..16 becomes 0..255."""
    try:
        with FILE.open("rb") as file, np.load(file) as stored:
            return Arrays(
                x_train=_pixels(stored["x_train"]),
                y_train=stored["y_train"].astype(np.int64),
                x_test=_pixels(stored["x_test"]),
                y_test=stored["y_test"].astype(np.int64),
            )
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(
            f"{FILE.name} of the installation is missing or damaged ({error}): install npas again",
            field="/dataset",
        ) from error


def _pixels(grey: Any) -> Any:
    return np.rint(grey * (255 / 16)).astype(np.uint8)[:, np.newaxis]


SOURCE = Source(
    title="Handwritten digits, 8x8 grey (comes along)",
    facts=lambda _folder, _argument: FACTS,
    read=_read,
    present=lambda _folder, _argument: FILE.is_file(),
    how="it comes with npas; where it is missing, install npas again",
    crop_padding=1,  # of 8 pixels; more would shift strokes out of the image
    flip=False,
)
