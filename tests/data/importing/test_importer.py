"""From folders and archives to the file that jobs read."""

import io
import subprocess
import sys
import zipfile

import npas.data
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.data._importing import importer
from npas.errors import DataError
from PIL import Image

NO_TORCH = """
import sys
import zipfile
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


def test_one_in_a_hundred_may_be_unreadable_and_no_more(good, archive, imported):
    files = good(100)
    files |= {"cat/000.png": b"no image", "dog/001.png": files["dog/001.png"][:90]}
    report = imported(archive(files))
    assert report.num_skipped == 2
    assert [each.name for each in report.skipped] == ["cat/000.png", "dog/001.png"]
    assert "is no image" in report.skipped[0].reason

    files["dog/002.png"] = b""
    with pytest.raises(DataError, match=r"3 of 200 images cannot be read, more than 1 %: cat/000"):
        imported(archive(files))


def test_images_of_formats_that_are_not_read_count_as_unreadable(good, archive, imported):
    files = good(30) | {f"cat/{index}.heic": b"x" for index in range(5)}
    with pytest.raises(DataError, match=r"5 of 65 images.*\.heic is not read; save it as PNG"):
        imported(archive(files))


def test_sizes_and_kinds_are_told(image, good, archive, imported, tmp_path):
    files = good(20)
    files["cat/wide.png"] = image(1, (40, 10))
    files["cat/grey.png"] = image(2, mode="L")
    report = imported(archive(files))
    assert report.modes == {"L": 1, "RGB": 41}
    assert report.formats == {"PNG": 42}
    assert report.sizes.largest == (40, 10)
    assert report.sizes.median_shorter_side == 10
    assert "10 x 10 colour (the median of the shorter sides is 10)" in report.rule
    assert npas.data.load(tmp_path / "made.npz").input_channels == 3


def test_grey_images_stay_grey_unless_asked(image, archive, imported):
    files = {f"{label}/{i}.png": image(i, mode="L") for label in "ab" for i in range(12)}
    path = archive(files)
    assert imported(path).facts["input_channels"] == 1
    assert imported(path, channels=3).facts["input_channels"] == 3
    assert imported(path, image_size=7, fit="pad").facts["input_size"] == 7


def test_classes_of_very_different_sizes_are_warned_of(image, archive, imported):
    files = {f"a/{i:03}.png": image(i) for i in range(111)}
    report = imported(archive(files | {f"b/{i}.png": image(900 + i) for i in range(11)}))
    assert any("more than tenfold in size (11 to 111 images)" in each for each in report.warnings)


def test_dark_images_of_16_bits_are_warned_of(archive, imported):
    draw = np.random.default_rng(0)
    files = {}
    for index in range(24):
        content = io.BytesIO()
        Image.fromarray(draw.integers(0, 4_000, (8, 8), np.uint16)).save(content, "PNG")
        files[f"{'ab'[index % 2]}/{index}.png"] = content.getvalue()
    report = imported(archive(files))
    assert any("nearly black" in warning for warning in report.warnings)


LIMITS = {
    "files": ({"max_files": 5}, "holds 24 entries; at most 5"),
    "arrays": ({"max_array_bytes": 4_000}, r"24 images of 10 x 10 are .*image_size to at most 7"),
    "pixels": ({"max_total_pixels": 500}, "more than 500 pixels together"),
    "classes": ({"max_classes": 1}, "holds 2 classes; at most 1"),
    "pixels of one": ({"max_image_pixels": 50}, "has 12 x 10 pixels; at most 50"),
    "bytes of one": ({"max_file_bytes": 50}, "is larger than 50 bytes"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits_hold(case, good, archive, imported):
    limits, message = LIMITS[case]
    with pytest.raises(DataError, match=message):
        imported(archive(good()), npas.data.ImportLimits(**limits))


@settings(deadline=None, derandomize=True, max_examples=8)
@given(data=st.data())
def test_import_is_the_same_bytes_in_whatever_order_files_are_packed(data, tmp_path_factory, good):
    folder = tmp_path_factory.mktemp("order")
    files = good(10)
    options = npas.data.ImageOptions(split_seed=data.draw(st.integers(0, 3)))
    made = []
    for name in ("one", "other"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path in data.draw(st.permutations(sorted(files))):
                archive.writestr(path, files[path])
        target = folder / f"{name}.npz"
        npas.data.import_dataset(folder / f"{name}.zip", target, format="images", options=options)
        made.append(target.read_bytes())
    assert made[0] == made[1]


def test_canonical_file_goes_through_an_import_unchanged(good, archive, imported, tmp_path):
    imported(archive(good()))
    npas.data.import_dataset(tmp_path / "made.npz", tmp_path / "again.npz", format="npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "made.npz").read_bytes()


def test_full_disk_leaves_nothing_behind(good, archive, tmp_path):
    with pytest.raises(FileNotFoundError):
        npas.data.import_dataset(archive(good()), tmp_path / "no" / "made.npz", format="images")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "x").write_text("")
    with pytest.raises(OSError, match="made"):
        npas.data.import_dataset(archive(good()), tmp_path / "made", format="images")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["made", "mine.zip"]
