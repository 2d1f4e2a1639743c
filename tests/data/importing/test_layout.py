"""Every layout that people have, read as they mean it."""

import json

import npas.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.data._importing.layout import laid_out
from npas.data._importing.notes import Notes
from npas.errors import DataError


class Listed:
    """Files that are names alone."""

    def __init__(self, names, contents=()):
        self.contents = dict(contents)
        self.paths = {tuple(name.split("/")): 1 for name in (*names, *self.contents)}

    def sizes(self):
        return self.paths

    def read(self, parts):
        return self.contents["/".join(parts)]


def placed(*names, **contents):
    """Return the label and split of each image, by its name."""
    notes = Notes(source="mine")
    album = laid_out(Listed(names, contents), notes)
    return {item.name: (item.label, item.split) for item in album.items}, notes


LAYOUTS = {
    "classes": ({"a/1.png": ("a", None), "b/x/2.JPG": ("b", None)}),
    "one folder around": {"top/a/1.png": ("a", None), "top/b/2.png": ("b", None)},
    "two folders around": {"t/u/a/1.png": ("a", None), "t/u/b/2.png": ("b", None)},
    "splits": {
        "train/a/1.png": ("a", "train"),
        "val/a/2.png": ("a", "validation"),
        "test/b/3.png": ("b", "test"),
    },
    "splits in other words": {
        "Data/Training/a/1.png": ("a", "train"),
        "Data/VALID/a/2.png": ("a", "validation"),
        "Data/testing/b/3.png": ("b", "test"),
    },
    "training alone": {"train/a/1.png": ("a", "train"), "train/b/2.png": ("b", "train")},
    "a class called test": {"control/1.png": ("control", None), "test/2.png": ("test", None)},
    "accents in two spellings": {
        "train/caf\u00e9/1.png": ("caf\u00e9", "train"),
        "test/cafe\u0301/2.png": ("caf\u00e9", "test"),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_understood(layout):
    wanted = LAYOUTS[layout]
    litter = ("__MACOSX/a/._1.png", ".hidden/x.png", "a/.DS_Store", "a/Thumbs.db")
    found, notes = placed(*wanted, *litter)
    assert found == wanted
    assert notes.warnings == notes.ignored == notes.skipped == []


TABLES = {
    "labels.csv": b"file,label\n1.png,cat\nsub/2.png,dog\n",
    "metadata.csv": b"\xef\xbb\xbfFile_Name;caption;Label\r\n"
    b'1.png;"a; b";cat\r\nsub/2.png;;dog\r\n',
    "metadata.jsonl": b'{"file_name": "1.png", "label": "cat"}\n\n'
    b'{"file_name": "sub\\\\2.png", "label": "dog", "more": [1]}\n',
}


@pytest.mark.parametrize("around", ["", "top/"])
@pytest.mark.parametrize("table", TABLES)
def test_table_beside_flat_images_says_classes(table, around):
    names = [f"{around}{name}" for name in ("1.png", "sub/2.png", "3.png")]
    found, notes = placed(*names, **{f"{around}{table}": TABLES[table]})
    assert found == {names[0]: ("cat", None), names[1]: ("dog", None)}
    assert notes.warnings == [f"images that no table names are left out: {around}3.png"]


def test_table_says_splits():
    table = b"file,label,split\n1.png,3,train\n2.png,10,Val\n3.png,3,testing\n"
    found, _ = placed("1.png", "2.png", "3.png", **{"labels.csv": table})
    assert list(found.values()) == [("3", "train"), ("10", "validation"), ("3", "test")]


def test_each_split_may_have_a_table_of_its_own_or_be_a_folder_in_one():
    line = '{"file_name": "1.png", "label": 7}'
    own = {f"{split}/metadata.jsonl": line.encode() for split in ("train", "test")}
    found, _ = placed("train/1.png", "test/1.png", **own)
    assert found == {"train/1.png": ("7", "train"), "test/1.png": ("7", "test")}
    table = b"file_name,label\ntrain/1.png,7\ntest/1.png,7\n"
    assert placed("train/1.png", "test/1.png", **{"metadata.csv": table})[0] == found


def test_table_without_labels_leaves_them_to_folders():
    captions = b"file_name,caption\na/1.png,hello\n"
    found, notes = placed("a/1.png", "b/2.png", **{"metadata.csv": captions})
    assert found == {"a/1.png": ("a", None), "b/2.png": ("b", None)}
    assert "says no classes" in notes.warnings[0]


def test_images_that_a_table_names_and_that_are_not_there_are_skipped():
    _, notes = placed("1.png", **{"labels.csv": b"file,label\n1.png,a\n2.png,b\n"})
    assert [(each.name, each.reason) for each in notes.skipped] == [
        ("2.png", "is in labels.csv, but not there")
    ]


WRONG_TABLES = {
    "no label": (b"file,label\n1.png,\n", "labels.csv, line 2: no label"),
    "no file": (b"file,label\n1.png,a\n,a\n", "labels.csv, line 3: no file"),
    "two labels": (b"file,label\n1.png,a\n1.png,b\n", "line 3: 1.png has another label"),
    "a way out": (b"file,label\n../../etc/passwd,a\n", "line 2: .*leads out of the source"),
    "absolute": (b"file,label\n/etc/passwd,a\n", "line 2: .*is absolute"),
    "unknown split": (b"file,label,split\n1.png,a,sometimes\n", "no split 'sometimes'"),
    "half a split": (b"file,label,split\n1.png,a,train\n2.png,a,\n", "without a split.*: 2.png"),
    "no text": (b"file,label\n\xff\xfe\x00", "labels.csv cannot be read"),
    "an open quote": (b'file,label\n"1.png,a\n', "labels.csv cannot be read"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_wrong_table_is_refused_with_its_line(case):
    content, message = WRONG_TABLES[case]
    with pytest.raises(DataError, match=f"mine: .*{message}"):
        placed("1.png", "2.png", **{"labels.csv": content})


@pytest.mark.parametrize(
    "content", [b"[1]", b"{", b'{"file_name": "1.png", "label": 1.5}', b"[" * 100_000]
)
def test_wrong_json_is_refused(content):
    with pytest.raises(DataError, match=r"mine: metadata\.jsonl"):
        placed("1.png", **{"metadata.jsonl": b'{"file_name": "1.png", "label": "a"}\n' + content})


def test_two_tables_side_by_side_are_refused():
    table = TABLES["labels.csv"]
    with pytest.raises(DataError, match="lie side by side: keep one"):
        placed("1.png", **{"labels.csv": table, "metadata.csv": table})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("1.png", "2.png"), r"2 images lie in no folder: 1\.png, 2\.png; put the images"),
        (("a/1.png", "3.png"), r"1 images lie in no folder: 3\.png"),
        (("train/1.png", "train/a/2.png"), r"1 images lie in the folder of a split.*train/1\.png"),
        (("train/a/1.png", "cats/2.png"), "folders of splits and others.*: cats, train"),
        (("test/a/1.png", "val/a/2.png"), "holds test, val, but no images to train on"),
    ],
)
def test_layout_that_nobody_can_read_is_refused(names, message):
    with pytest.raises(DataError, match=f"mine: .*{message}"):
        placed(*names)


def test_what_is_no_image_is_told():
    _, notes = placed("a/1.png", "b/2.png", "b/more.zip", "notes.md", "b/3.heic")
    assert notes.warnings == [
        "archives inside are not opened: b/more.zip",
        "files that are no images are left out: notes.md",
    ]
    assert [each.name for each in notes.skipped] == ["b/3.heic"]


def test_classes_are_those_of_all_splits_and_never_shift(good, archive, imported, tmp_path):
    """A class that the training, or another split, lacks keeps its label."""
    files = good(40, classes=("ant", "bee", "cow"))
    where = {"ant": ("train", "val"), "bee": ("test",), "cow": ("train", "val", "test")}
    laid = {}
    for index, (name, content) in enumerate(files.items()):
        label = name.partition("/")[0]
        laid[f"{where[label][index % len(where[label])]}/{name}"] = content

    report = imported(archive(laid))

    assert report.class_names == ("ant", "bee", "cow")
    made = npas.data.load(tmp_path / "made.npz")
    assert set(made.y_train.tolist()) == set(made.y_validation.tolist()) == {0, 2}
    assert set(made.y_test.tolist()) == {1, 2}
    assert made.num_classes == 3
    told = [warning for warning in report.warnings if warning.startswith("classes without")]
    assert told == [
        "classes without train images: bee",
        "classes without validation images: bee",
        "classes without test images: ant",
    ]
    assert report.splits == "all splits as given"


NAMES = st.lists(
    st.text("abcXYZ019 _-", min_size=1, max_size=6).map(str.strip).filter(bool),
    min_size=2,
    max_size=6,
    unique_by=str.casefold,
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(names=NAMES, data=st.data())
def test_labels_follow_from_the_names_of_classes_alone(names, data):
    """Whatever splits have which classes, and in whatever order files are listed."""
    from npas.data._importing.names import sorted_classes

    split = st.sampled_from(["train", "val", "test"])
    places = {name: data.draw(st.sets(split, min_size=1), label=name) for name in names}
    files = [f"{place}/{name}/{i}.png" for name in names for place in places[name] for i in "12"]
    files += [f"train/{names[0]}/0.png"]
    found, _ = placed(*data.draw(st.permutations(files)))
    assert sorted_classes(label for label, _ in found.values()) == sorted_classes(names)
    for path, (label, _) in found.items():
        assert path.split("/")[1] == label


def test_numbers_as_names_are_in_the_order_of_numbers():
    from npas.data._importing.names import sorted_classes

    assert sorted_classes(["10", "9", "0"]) == ("0", "9", "10")
    assert sorted_classes(["10", "9", "a"]) == ("10", "9", "a")
    assert json.dumps(sorted_classes([])) == "[]"
