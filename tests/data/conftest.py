"""Small arrays with everything that a dataset must have, and a data folder to put them into."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

GoodArrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def arrays() -> GoodArrays:
    draw = np.random.default_rng(0)
    return {
        "x_train": draw.integers(0, 256, (30, 6, 6, 3), np.uint8),
        "y_train": np.arange(30) % 4,
        "x_test": draw.integers(0, 256, (12, 6, 6, 3), np.uint8),
        "y_test": np.arange(12) % 4,
    }


@pytest.fixture
def folder(tmp_path: Path, arrays: GoodArrays) -> Path:
    np.savez_compressed(tmp_path / "mine.npz", **arrays)
    return tmp_path
