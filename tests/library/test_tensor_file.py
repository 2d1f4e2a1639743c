"""A file of tensors is whole or absent, and what prevents it is said as the system says it."""

import errno
import os
import resource
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import tensor_file
from safetensors import safe_open

TENSORS = {"a": torch.arange(100_000.0), "b": torch.ones(3, dtype=torch.bfloat16).expand(2, 3)}


@pytest.fixture
def full_disk():
    """Let no file of this process grow beyond 100,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_write_can_be_read_and_leaves_nothing_else(tmp_path):
    tensor_file.write(TENSORS, tmp_path / "file", {"key": "text"})
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.metadata() == {"key": "text"}
        assert all(torch.equal(file.get_tensor(name), t) for name, t in TENSORS.items())
    assert os.listdir(tmp_path) == ["file"]


@given(
    tensors=st.dictionaries(
        st.text('ab."\\\u00e9', min_size=1, max_size=12),
        st.tuples(
            st.sampled_from(
                [
                    *(torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.int64),
                    *(torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
                ]
            ),
            st.lists(st.integers(0, 12), max_size=3),
        ),
        max_size=12,
    ),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=2),
)
@settings(max_examples=100, deadline=None)
def test_num_bytes_are_those_that_are_written(tensors, metadata):
    real = {name: torch.zeros(shape, dtype=kind) for name, (kind, shape) in tensors.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        tensor_file.write(real, path, metadata)
        assert tensor_file.num_bytes(tensors, metadata) == path.stat().st_size


def test_write_lets_those_read_whom_the_umask_lets(tmp_path):
    tensor_file.write(TENSORS, tmp_path / "file", {})
    (tmp_path / "other").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.usefixtures("full_disk")
def test_write_that_does_not_fit_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="file") as caught:
        tensor_file.write(TENSORS, tmp_path / "file", {})
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_to_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing/file"):
        tensor_file.write(TENSORS, tmp_path / "missing" / "file", {})
