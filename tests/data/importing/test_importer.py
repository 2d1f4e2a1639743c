"""From folders and archives to the file that jobs read."""

import subprocess
import sys

import npas.data
import numpy as np
import pytest
import torch
from npas.data._importing import importer
from npas.errors import DataError
from PIL import Image

NO_TORCH = """
import sys
from pathlib import Path
from npas import data
data.import_dataset(Path(sys.argv[1]), Path(sys.argv[2]), format="images")
assert "torch" not in sys.modules
"""


def test_folder_and_archive_make_the_same_file_and_the_report_says_what_is_in_it(
    good, archive, folder_of, imported, tmp_path
):
    report = imported(archive({f"top/{name}": file for name, file in good().items()}))
    first = (tmp_path / "made.npz").read_bytes()
    again = imported(folder_of(good()))

    assert (tmp_path / "made.npz").read_bytes() == first
    made = npas.data.load(tmp_path / "made.npz")
    assert again.fingerprint == report.fingerprint == made.fingerprint
    assert made.class_names == report.class_names == ("cat", "dog")
    assert (report.facts["num_train"], len(made.x_train)) == (20, 20)
    assert (len(made.x_validation), len(made.x_test)) == (2, 2)
    assert made.y_test.tolist() in ([0, 1], [1, 0])
    assert made.input_size == 10
    assert "80/10/10" in report.splits
    assert npas.data.facts(tmp_path / "made.npz").num_validation == 2


def test_pixels_are_those_of_the_files(good, archive, imported, tmp_path):
    files = good()
    imported(archive(files))
    made = npas.data.load(tmp_path / "made.npz")
    everything = torch.cat([made.x_train, made.x_validation, made.x_test])
    found = {image.numpy().tobytes() for image in everything}

    wanted = set()
    for content in files.values():
        (tmp_path / "one.png").write_bytes(content)
        pixels = np.asarray(Image.open(tmp_path / "one.png"))[:, 1:11]
        wanted.add(pixels.transpose(2, 0, 1).tobytes())
    assert found == wanted


def test_sheet_of_thumbnails_has_a_row_for_each_class(good, archive, imported, tmp_path):
    imported(archive(good(classes=("a", "b", "c"))))
    with Image.open(tmp_path / "made.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.height == 3 * 68 + 4


def test_import_needs_no_torch(good, archive, tmp_path):
    command = [sys.executable, "-c", NO_TORCH, str(archive(good())), str(tmp_path / "made.npz")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no images"),
        ({"cat/a.txt": b"x"}, "holds no images"),
        ("one", "one class only, cat"),
        ("few", r"fewer than 10 images: dog \(9\)"),
    ],
)
def test_what_cannot_be_learned_is_refused(files, message, good, archive, imported, tmp_path):
    if files == "one":
        files = good(classes=("cat",))
    if files == "few":
        files = {name: file for name, file in good(10).items() if name != "dog/000.png"}
    with pytest.raises(DataError, match=rf"mine\.zip: .*{message}"):
        imported(archive(files))
    assert not (tmp_path / "made.npz").exists()


def test_absent_source_is_named(tmp_path, imported):
    with pytest.raises(DataError, match="absent: there is no such file or folder"):
        imported(tmp_path / "absent")
    assert importer.LEAST_OF_A_CLASS == 10
