"""Parquet as Hugging Face writes it."""

import json

import npas.data
import pyarrow
import pytest
from npas.data import ImageOptions, ImportLimits
from npas.errors import DataError
from pyarrow import parquet


def table(files, *, label=lambda name: name, split=None, plain=False, names=None):
    """Return a table of CLASS/FILE -> bytes."""
    images = [
        content if plain else {"bytes": content, "path": name} for name, content in files.items()
    ]
    columns = {
        "image": pyarrow.array(images),
        "label": pyarrow.array([label(name.partition("/")[0]) for name in files]),
        "more": pyarrow.array([[1.5]] * len(files)),
    }
    if split is not None:
        columns["split"] = pyarrow.array([split(i) for i in range(len(files))])
    made = pyarrow.table(columns)
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        made = made.replace_schema_metadata({"huggingface": json.dumps(features)})
    return made


def imported(source, target, limits=None, **options):
    return npas.data.import_dataset(
        source,
        target,
        format="parquet",
        options=ImageOptions.model_validate(options),
        limits=limits,
    )


def test_parquet_makes_the_same_file_as_a_folder(good, folder_of, tmp_path):
    files = good(30)
    folder = folder_of(files)
    npas.data.import_dataset(folder, tmp_path / "folder.npz", format="images")
    parquet.write_table(table(files), tmp_path / "mine.parquet", row_group_size=7)

    report = imported(tmp_path / "mine.parquet", tmp_path / "made.npz")

    assert (tmp_path / "made.npz").read_bytes() == (tmp_path / "folder.npz").read_bytes()
    assert report.class_names == ("cat", "dog")


@pytest.mark.parametrize("where", [".", "data"])
def test_files_of_splits_and_names_of_classes(good, tmp_path, where):
    number = {"cat": 1, "dog": 0}
    folder = tmp_path / "set" / where
    folder.mkdir(parents=True)
    for split, count in (("train", 20), ("validation", 4), ("test", 3)):
        made = table(good(count), label=number.get, names=["dog", "cat"], plain=True)
        parquet.write_table(made, folder / f"{split}-00000-of-00001.parquet")

    report = imported(tmp_path / "set", tmp_path / "made.npz")

    assert report.class_names == ("dog", "cat")
    assert [report.facts[f"num_{each}"] for each in ("train", "validation", "test")] == [40, 8, 6]
    assert report.splits == "all splits as given"
    made = npas.data.load(tmp_path / "made.npz")
    assert made.class_names == ("dog", "cat")


def test_column_of_splits(good, tmp_path):
    words = ["train", "train", "train", "valid", "Test"]
    made = table(good(25), split=lambda i: words[i % 5], label={"cat": 7, "dog": 10}.get)
    parquet.write_table(made, tmp_path / "mine.parquet")
    report = imported(tmp_path / "mine.parquet", tmp_path / "made.npz")
    assert report.class_names == ("7", "10")
    assert report.facts["num_train"] == 30


def test_rows_without_bytes_are_skipped(good, tmp_path):
    files = good(60)
    files["cat/007.png"] = None
    parquet.write_table(table(files), tmp_path / "mine.parquet")
    report = imported(tmp_path / "mine.parquet", tmp_path / "made.npz")
    assert [(each.name, each.reason) for each in report.skipped] == [
        ("cat/007.png", "has no bytes")
    ]


WRONG = {
    "no label": (lambda made: made.drop_columns(["label"]), "needs a column image"),
    "no image": (lambda made: made.drop_columns(["image"]), "it has label, more"),
    "label of floats": (
        lambda made: made.set_column(1, "label", pyarrow.array([0.5] * len(made))),
        r"row 0: 0\.5 is no label",
    ),
    "label that is missing": (
        lambda made: made.set_column(1, "label", pyarrow.array([-1] * len(made))),
        "row 0: -1 is no label",
    ),
    "unknown split": (
        lambda made: made.append_column("split", pyarrow.array(["x"] * len(made))),
        "no split 'x'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_refused(good, tmp_path, case):
    change, message = WRONG[case]
    parquet.write_table(change(table(good())), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=rf"mine\.parquet.*{message}"):
        imported(tmp_path / "mine.parquet", tmp_path / "made.npz")


def test_damaged_and_too_large_files_are_refused(good, tmp_path):
    path = tmp_path / "mine.parquet"
    parquet.write_table(table(good()), path)
    content = path.read_bytes()
    limits = ImportLimits(max_unpacked_bytes=1_000)
    with pytest.raises(DataError, match=r"mine\.parquet unpacks to"):
        imported(path, tmp_path / "made.npz", limits)
    for bad in (b"", b"PAR1", content[:-20], content[:100] + content[-100:]):
        path.write_bytes(bad)
        with pytest.raises(DataError, match="is not a readable Parquet file"):
            imported(path, tmp_path / "made.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.parquet files"):
        imported(tmp_path / "empty", tmp_path / "made.npz")
