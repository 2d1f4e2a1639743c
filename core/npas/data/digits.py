"""Handwritten digits, 8x8 grey: comes with scikit-learn, so it is there without a download."""

from pathlib import Path

import numpy as np

from npas import registry
from npas.data._arrays import Arrays, Facts
from npas.data._source import Source

FACTS = Facts(num_classes=10, input_channels=1, input_size=8, num_train=1437, num_test=360)


def _read(_folder: Path, _argument: str) -> Arrays:
    """Return the 1,797 images in a fixed, stratified split; grey 0..16 becomes 0..255."""
    # Slow to import, and plans do without.
    datasets = registry.imported("sklearn.datasets", extra="vision")
    selection = registry.imported("sklearn.model_selection", extra="vision")
    images, labels = datasets.load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = selection.train_test_split(
        pixels, labels.astype(np.int64), test_size=FACTS.num_test, random_state=0, stratify=labels
    )
    return Arrays(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


SOURCE = Source(
    title="Handwritten digits, 8x8 grey (comes with scikit-learn)",
    facts=lambda _folder, _argument: FACTS,
    read=_read,
    present=lambda _folder, _argument: registry.is_installed("sklearn"),
    how="it comes with scikit-learn: pip install 'npas[vision]'",
    crop_padding=1,  # of 8 pixels; more would shift strokes out of the image
    flip=False,
)
