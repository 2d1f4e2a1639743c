"""Small images in folders and archives, as people have them."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from npas import data
from npas.data import ImageOptions, ImportLimits, ImportReport
from PIL import Image


def png(number: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> bytes:
    """Return an image that differs from those of other numbers."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def in_classes(count: int = 12, classes: tuple[str, ...] = ("cat", "dog")) -> dict[str, bytes]:
    """Return CLASS/NUMBER.png, so many of each class."""
    return {
        f"{name}/{index:03}.png": png(1_000 * label + index)
        for label, name in enumerate(classes)
        for index in range(count)
    }


def packed(files: Mapping[str, bytes], path: Path) -> Path:
    """Write a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpacked(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def image() -> Callable[..., bytes]:
    return png


@pytest.fixture(scope="session")
def good() -> Callable[..., dict[str, bytes]]:
    return in_classes


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    return lambda files, name="mine.zip": packed(files, tmp_path / name)


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[..., Path]:
    return lambda files, name="mine": unpacked(files, tmp_path / name)


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., ImportReport]:
    """Import a source to made.npz beside it; options are keywords."""

    def make(source: Path, limits: ImportLimits | None = None, **options: object) -> ImportReport:
        return data.import_dataset(
            source,
            tmp_path / "made.npz",
            format="images",
            thumbnails=tmp_path / "made.png",
            options=ImageOptions.model_validate(options),
            limits=limits,
        )

    return make
