import io
import zipfile
from pathlib import Path
from typing import Any

import npas.data
import numpy as np
import pytest
from npas.data import npz
from npas.errors import DataError

Arrays = dict[str, np.ndarray[Any, Any]]


def change(arrays: Arrays, **new: object) -> Arrays:
    return arrays | {key: np.asarray(value) for key, value in new.items()}


def test_layouts_of_the_same_images_are_the_same_dataset(folder: Path, arrays: Arrays) -> None:
    first = {key: arrays[key].transpose(0, 3, 1, 2) for key in ("x_train", "x_test")}
    np.savez(folder / "first.npz", **(arrays | first))

    last = npas.data.load("npz:mine", folder)

    assert last.x_train.shape == (30, 3, 6, 6)
    assert npas.data.load("npz:first", folder).fingerprint == last.fingerprint
    assert npas.data.load(folder / "mine.npz").fingerprint == last.fingerprint


def test_grey_images_and_a_column_of_labels_are_fine(folder: Path, arrays: Arrays) -> None:
    grey = change(
        arrays,
        x_train=arrays["x_train"][..., 0],
        x_test=arrays["x_test"][..., 0],
        y_train=arrays["y_train"][:, None].astype(np.uint8),
    )
    np.savez(folder / "grey.npz", **grey)

    dataset = npas.data.load("npz:grey", folder)

    assert dataset.x_train.shape == (30, 1, 6, 6)
    assert dataset.y_train.shape == (30,)
    assert npas.data.facts("npz:grey", folder).input_channels == 1


BAD = {
    "integers": ({"x_train": np.zeros((30, 6, 6, 3), int)}, "x_train is int64; images must be"),
    "floats": ({"x_train": np.full((30, 6, 6, 3), 2.0)}, "x_train is float64 and runs from 2 to"),
    "names": ({"class_names": np.arange(4)}, "class_names is int64 of shape"),
    "few names": ({"class_names": list("abc")}, "y_train has label 3, but 3 class_names"),
    "a name twice": ({"class_names": list("abca")}, "class_names holds a name twice"),
    "long names": ({"class_names": ["a", "b", "c", "d" * 1001]}, "texts of up to 1000 letters"),
    "half a split": ({"x_validation": np.zeros((3, 6, 6, 3), np.uint8)}, "x_validation alone"),
    "not square": ({"x_test": np.zeros((12, 6, 7, 3), np.uint8)}, "x_test has shape"),
    "too small": ({"x_test": np.zeros((12, 3, 3), np.uint8)}, "x_test has shape"),
    "other size": ({"x_test": np.zeros((12, 8, 8, 3), np.uint8)}, "x_train has images of shape"),
    "other count": ({"y_train": np.zeros(29, np.int64)}, "30 images but y_train has 29 labels"),
    "one-hot": ({"y_test": np.zeros((12, 4), np.int64)}, r"labels must be \(N,\)"),
    "float labels": ({"y_test": np.zeros(12)}, "y_test is float64; labels must be integers"),
    "negative": ({"y_train": np.arange(30) - 1}, "y_train runs from -1 to 28"),
    "one class": ({"y_train": np.zeros(30, int), "y_test": np.zeros(12, int)}, "one class only"),
    "unseen class": ({"y_test": np.arange(12)}, "y_test has label 11, but y_train only 0 to 3"),
    "pickled": ({"y_test": np.array([{}] * 12)}, "y_test holds pickled Python objects"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_named(folder: Path, arrays: Arrays, case: str) -> None:
    new, message = BAD[case]
    np.savez(folder / "bad.npz", **change(arrays, **new))

    for read in (npas.data.load, npas.data.facts):
        with pytest.raises(DataError, match=f"bad.npz: .*{message}"):
            read("npz:bad", folder)


def test_missing_key_is_named(folder: Path, arrays: Arrays) -> None:
    del arrays["y_test"]
    np.savez(folder / "bad.npz", **arrays)

    with pytest.raises(DataError, match=r"bad\.npz: has no y_test"):
        npas.data.load("npz:bad", folder)


def test_damaged_files_are_refused(folder: Path) -> None:
    content = (folder / "mine.npz").read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 255
    for bad in (b"", b"no zip", content[:-100], bytes(damaged)):
        (folder / "bad.npz").write_bytes(bad)

        with pytest.raises(DataError, match=r"bad\.npz: is"):
            npas.data.load("npz:bad", folder)


def test_header_that_promises_too_much_is_refused_before_memory_is_taken(
    folder: Path, arrays: Arrays
) -> None:
    fake = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 6, 6, 3)}
    np.lib.format.write_array_header_1_0(fake, header)
    with zipfile.ZipFile(folder / "bad.npz", "w") as archive:
        for key, array in arrays.items():
            plain = io.BytesIO()
            np.save(plain, array)
            content = fake.getvalue() if key == "x_train" else plain.getvalue()
            archive.writestr(f"{key}.npy", content)

    with pytest.raises(DataError, match="x_train is shorter than its header says"):
        npas.data.facts("npz:bad", folder)


@pytest.mark.parametrize("name", ["../mine", "a/b", "a.b", "", ".", "-a", "x" * 65, "mine\n"])
def test_names_are_never_paths(folder: Path, name: str) -> None:
    for read in (npz.SOURCE.read, npz.SOURCE.facts):
        with pytest.raises(DataError, match="is not a name"):
            read(folder, name)


def test_name_without_a_file_says_what_to_do(folder: Path) -> None:
    with pytest.raises(DataError, match=r"put absent\.npz in the data folder"):
        npas.data.load("npz:absent", folder)


def _set_bytes(content: bytes, mark: bytes, offset: int, value: int) -> bytes:
    changed, place = bytearray(content), content.find(mark)
    while place >= 0:
        changed[place + offset] = value
        place = content.find(mark, place + 1)
    return bytes(changed)


STRANGE = {
    "encrypted": ((b"PK\1\2", 8, 1), (b"PK\3\4", 6, 1)),
    "packed in an unknown way": ((b"PK\1\2", 10, 97), (b"PK\3\4", 8, 97)),
    "lzma that is none": ((b"PK\1\2", 10, 14), (b"PK\3\4", 8, 14)),
    "of a later zip": ((b"PK\1\2", 6, 250),),
    "header without an end": ((b"{'descr'", 0, ord("(")),),
    "header of an open text": ((b"{'descr'", 1, ord(" ")),),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_strange_file_is_refused_and_spoils_no_other(
    folder: Path, arrays: Arrays, case: str
) -> None:
    np.savez(folder / "strange.npz", **arrays)
    content = (folder / "strange.npz").read_bytes()
    for change_of in STRANGE[case]:
        content = _set_bytes(content, *change_of)
    (folder / "strange.npz").write_bytes(content)

    with pytest.raises(DataError, match=r"strange\.npz"):
        npas.data.load("npz:strange", folder)
    with pytest.raises(DataError, match=r"strange\.npz"):
        npas.data.require("npz:strange", folder)
    rows = {row["name"]: row for row in npas.data.catalogue(folder)}
    assert not rows["npz:strange"]["available"]
    assert rows["npz:mine"]["available"]
    npas.data.require("npz:mine", folder)


def test_what_is_read_is_what_was_checked(folder: Path, arrays: Arrays) -> None:
    np.savez(folder / "twice.npz", **arrays)
    with zipfile.ZipFile(folder / "twice.npz", "a") as archive:
        archive.writestr("x_train", b"not an array")
        archive.writestr("y_train", b"not an array")

    read = npas.data.load("npz:twice", folder)

    assert read.fingerprint == npas.data.load("npz:mine", folder).fingerprint


def test_absent_datasets_are_required_in_vain(folder: Path) -> None:
    with pytest.raises(DataError, match="cifar10 is not in the data folder"):
        npas.data.require("cifar10", folder)
