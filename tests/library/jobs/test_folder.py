"""A folder that cannot be written into is told of before anything is trained."""

from pathlib import Path

import pytest
from npas.jobs.folder import make


def test_folder_is_made_and_left_empty(tmp_path):
    make(tmp_path / "a" / "b")
    make(tmp_path / "a" / "b")
    assert [*(tmp_path / "a" / "b").iterdir()] == []


def test_what_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make(tmp_path / "file")
    with pytest.raises(OSError, match="/proc"):
        make(Path("/proc/npas"))
