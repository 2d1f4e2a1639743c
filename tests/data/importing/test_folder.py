"""Folders: links stay inside, and nothing but files is read."""

import os

import pytest
from npas.data import ImportLimits
from npas.data._importing.folder import FolderFiles
from npas.data._importing.notes import Notes, UnreadableError
from npas.errors import DataError

LIMITS = ImportLimits(max_files=30, max_file_bytes=10_000)


def listed(path, limits=LIMITS):
    return FolderFiles(path, Notes(source=path.name), limits)


def test_links_inside_are_followed_and_links_outside_refused(folder_of, good, tmp_path):
    folder = folder_of(good())
    (folder / "dog" / "same.png").symlink_to(folder / "cat" / "000.png")
    files = listed(folder)
    assert files.read(("dog", "same.png")) == good()["cat/000.png"]

    (tmp_path / "secret").write_text("x")
    (folder / "dog" / "out.png").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"mine: dog/out\.png is a link that leads out"):
        listed(folder)


def test_links_to_folders_and_other_things_are_refused(folder_of, good):
    folder = folder_of(good())
    (folder / "loop").symlink_to(folder)
    with pytest.raises(DataError, match="loop is a link to a folder"):
        listed(folder)
    (folder / "loop").unlink()
    os.mkfifo(folder / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"cat/pipe\.png is neither a file nor a folder"):
        listed(folder)


def test_limits_hold(folder_of, good):
    folder = folder_of(good(16))
    with pytest.raises(DataError, match="holds more than 30 files"):
        listed(folder)
    (folder / "big.png").write_bytes(bytes(10_001))
    files = listed(folder, ImportLimits(max_file_bytes=10_000))
    with pytest.raises(UnreadableError, match=r"is larger than 9\.8 KiB"):
        files.read(("big.png",))


def test_names_that_some_systems_take_for_one_are_refused(folder_of):
    with pytest.raises(DataError, match=r"Cat/000\.png and cat/000\.png differ only in the case"):
        listed(folder_of({"cat/000.png": b"1", "Cat/000.png": b"2"}))
