"""The file formats of the named datasets, with small made-up files in them."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import npas.data
import numpy as np
import pytest
from npas.data import cifar10, cifar100, mnist
from npas.errors import DataError
from torchvision import datasets

Array = np.ndarray[Any, Any]


def write_idx(path: Path, array: Array) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("place", ["MNIST/raw", "mnist"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_reads_idx_files(tmp_path: Path, place: str, ending: str) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / place).mkdir(parents=True)
    images = {part: draw.integers(0, 256, (20, 28, 28), np.uint8) for part in ("train", "t10k")}
    for part, pixels in images.items():
        write_idx(tmp_path / place / f"{part}-images-idx3-ubyte{ending}", pixels)
        labels = np.arange(20, dtype=np.uint8) % 10
        write_idx(tmp_path / place / f"{part}-labels-idx1-ubyte{ending}", labels)

    arrays = mnist.SOURCE.read(tmp_path, "")

    assert np.array_equal(arrays.x_train[:, 0], images["train"])
    assert np.array_equal(arrays.x_test[:, 0], images["t10k"])
    assert arrays.y_test.tolist() == [*range(10), *range(10)]
    assert arrays.y_test.dtype == np.int64
    assert mnist.SOURCE.present(tmp_path, "")
    with pytest.raises(DataError, match="not the whole dataset"):
        npas.data.load("mnist", tmp_path)


def test_mnist_refuses_damaged_files(tmp_path: Path) -> None:
    place = tmp_path / "mnist"
    place.mkdir()
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        write_idx(place / f"{stem}-ubyte", np.zeros((3, 28, 28), np.uint8))
    path = place / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1], "not a readable idx file"),
        (b"", "not a readable idx file"),
        (b"\0\0\x0d" + whole[3:], "not an idx file of unsigned bytes"),
    ):
        path.write_bytes(content)

        with pytest.raises(DataError, match=message):
            mnist.SOURCE.read(tmp_path, "")


def write_cifar(folder: Path, files: dict[str, str], key: str) -> dict[str, Array]:
    """Write files as the official ones are, pickled; return their pixels by name."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    pixels = {}
    for name in files:
        pixels[name] = draw.integers(0, 256, (10, 3, 32, 32), np.uint8)
        content = {"data": pixels[name].reshape(10, -1), key: list(range(10))}
        (folder / name).write_bytes(pickle.dumps(content))
    return pixels


def checksum(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("source", "reader", "key", "classes"),
    [
        (cifar10.SOURCE, datasets.CIFAR10, "labels", "label_names"),
        (cifar100.SOURCE, datasets.CIFAR100, "fine_labels", "fine_label_names"),
    ],
)
def test_cifar_reads_the_official_files_and_verifies_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: Any,
    reader: Any,
    key: str,
    classes: str,
) -> None:
    folder = tmp_path / reader.base_folder
    names = {name: "" for name, _ in reader.train_list + reader.test_list}
    pixels = write_cifar(folder, names, key)
    meta = folder / reader.meta["filename"]
    meta.write_bytes(pickle.dumps({classes: [str(n) for n in range(10)]}))
    # The official checksums are of the real files, which are too large for a test.
    for listing in ("train_list", "test_list"):
        made = [[name, checksum(folder / name)] for name, _ in getattr(reader, listing)]
        monkeypatch.setattr(reader, listing, made)
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": checksum(meta)})

    arrays = source.read(tmp_path, "")

    expected = np.concatenate([pixels[name] for name, _ in reader.train_list])
    assert np.array_equal(arrays.x_train, expected)
    assert arrays.y_test.tolist() == list(range(10))
    (folder / reader.test_list[0][0]).write_bytes(b"something else")
    with pytest.raises(DataError, match=r"damaged or incomplete; python -m npas\.data"):
        source.read(tmp_path, "")


def test_cifar_as_one_npz_must_be_whole(tmp_path: Path) -> None:
    images, labels = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 10
    np.savez(
        tmp_path / "cifar10.npz", x_train=images, y_train=labels, x_test=images, y_test=labels
    )

    with pytest.raises(DataError, match="not the whole dataset"):
        npas.data.load("cifar10", tmp_path)
    assert len(npas.data.load("npz:cifar10", tmp_path).x_train) == 20
