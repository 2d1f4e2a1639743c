"""`images:NAME`: image files in the data folder, and those that a path leads to."""

import io
import os
import zipfile
from dataclasses import asdict
from pathlib import Path

import npas.data
import numpy as np
import pytest
from npas.data import images
from npas.data.__main__ import main
from npas.errors import DataError
from npas.spec import DatasetSpec
from PIL import Image


def png(number):
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FILES = {f"{name}/{i}.png": png(i + 50 * (name == "b")) for name in "ab" for i in range(20)}


@pytest.fixture
def data_folder(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def pack(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_folder_is_a_dataset_by_its_name_and_by_its_path(data_folder):
    facts = npas.data.facts("images:mine", data_folder)
    made = npas.data.load("images:mine", data_folder)
    by_path = npas.data.load(data_folder / "mine")

    assert made.name == by_path.name == "images:mine"
    assert made.fingerprint == by_path.fingerprint
    assert made.class_names == ("a", "b")
    assert (facts.num_train, facts.num_validation, facts.num_test) == (32, 4, 4)
    assert len(made.x_validation) == 4
    assert asdict(npas.data.facts(data_folder / "mine")) == asdict(facts)
    assert made.origin["splits"].startswith("training, validation and test images 80/10/10")
    assert npas.data.require("images:mine", data_folder) == facts


def test_zip_parquet_and_npz_are_found_by_their_name(data_folder):
    pack(data_folder / "packed.zip", FILES)
    whole = npas.data.load("images:mine", data_folder)
    for name in ("images:packed", "images:packed.zip"):
        assert npas.data.load(name, data_folder).fingerprint == whole.fingerprint
    odd = {"x_train": np.zeros((20, 6, 9), np.uint8), "x_test": np.ones((4, 6, 9), np.uint8)}
    labels = {"y_train": np.arange(20) % 2, "y_test": np.arange(4) % 2}
    np.savez(data_folder / "odd.npz", **odd, **labels)
    assert npas.data.load("images:odd.npz", data_folder).input_size == 6
    assert images.format_of(data_folder / "x.parquet") == "parquet"


def test_options_are_those_of_the_request(data_folder):
    asked = {"name": "images:mine", "image_size": 5, "channels": 3, "train_images": 12}
    spec = DatasetSpec.model_validate(asked)
    made = npas.data.load(spec, data_folder)
    assert made.x_train.shape == (12, 3, 5, 5)
    facts = npas.data.facts(spec, data_folder)
    assert (facts.input_size, facts.num_train, facts.num_test) == (5, 12, 4)


def test_images_are_decoded_once_and_again_when_files_change(data_folder):
    npas.data.facts("images:mine", data_folder)
    (file,) = (data_folder / ".imported").glob("*.npz")
    before = file.stat().st_mtime_ns
    first = npas.data.load("images:mine", data_folder)
    assert file.stat().st_mtime_ns == before

    (data_folder / "mine" / "a" / "0.png").write_bytes(png(999))
    changed = npas.data.load("images:mine", data_folder)
    assert changed.fingerprint != first.fingerprint
    assert len([*(data_folder / ".imported").glob("*.npz")]) == 1


def test_damaged_cache_is_made_anew(data_folder):
    whole = npas.data.load("images:mine", data_folder).fingerprint
    for pattern in ("*.npz", "*.json"):
        (file,) = (data_folder / ".imported").glob(pattern)
        file.write_bytes(file.read_bytes()[:50])
        assert npas.data.load("images:mine", data_folder).fingerprint == whole
        assert npas.data.load("images:mine", data_folder).fingerprint == whole


def test_folder_that_cannot_be_written_is_read_all_the_same(data_folder):
    (data_folder / ".imported").write_text("in the way")
    assert npas.data.load("images:mine", data_folder).class_names == ("a", "b")
    assert npas.data.facts("images:mine", data_folder).num_classes == 2


def test_catalogue_lists_what_was_imported(data_folder):
    def listed():
        return {row["name"]: row for row in npas.data.catalogue(data_folder)}

    assert "images:mine" not in listed()
    npas.data.facts("images:mine", data_folder)
    assert listed()["images:mine"]["available"]
    assert listed()["images:mine"]["facts"]["num_validation"] == 4
    os.utime(data_folder / "mine" / "a" / "0.png", ns=(1, 1))
    assert "images:mine" not in listed()


@pytest.mark.parametrize("name", ["", ".", "..", ".imported", "-a", "a" * 65])
def test_names_are_never_paths(data_folder, name):
    with pytest.raises(DataError, match="is not a name"):
        images.SOURCE.facts(data_folder, name)
    with pytest.raises(DataError, match="is not a name"):
        images.SOURCE.read(data_folder, f"{name}/../mine" if name else "/etc")


def test_what_is_absent_or_there_twice_says_what_to_do(data_folder):
    with pytest.raises(DataError, match=r"images:absent: put a folder absent, absent\.zip or"):
        npas.data.require("images:absent", data_folder)
    pack(data_folder / "mine.zip", FILES)
    with pytest.raises(DataError, match=r"may be mine or mine\.zip: name one in full"):
        npas.data.load("images:mine", data_folder)
    assert npas.data.load("images:mine.zip", data_folder).num_classes == 2


def test_program_prints_what_was_found(data_folder, monkeypatch, capsys):
    monkeypatch.setenv("NPAS_DATA_FOLDER", str(data_folder))
    assert main(["images:mine"]) == 0
    assert '"num_train": 32' in capsys.readouterr().out
    assert main(["images:absent"]) == 1
    assert "put a folder absent" in capsys.readouterr().err
    assert main(["images:mine", "images:absent"]) == 1
    assert main(["digits"]) == 0  # comes with the library
    assert "data folder: " in capsys.readouterr().out
    assert Path(data_folder / ".imported").is_dir()
