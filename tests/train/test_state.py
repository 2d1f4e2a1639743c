from pathlib import Path

import pytest
import torch
from npas import train
from npas.errors import CheckpointError
from npas.train import State


def a_state(value: float = 0.1) -> State:
    tensors = {"half": torch.ones(3, dtype=torch.bfloat16), "count": torch.tensor(7)}
    return State(tensors=tensors, facts={"loss": value, "rows": [1, None]})


def test_read_gives_back_what_was_written(tmp_path: Path) -> None:
    path = train.write(a_state(), tmp_path / "new", 3)

    state = train.read(path)

    assert state.facts == {"loss": 0.1, "rows": [1, None]}
    assert torch.equal(state.tensors["half"], torch.ones(3, dtype=torch.bfloat16))
    assert state.tensors["count"].item() == 7


def test_write_keeps_the_last_two_and_leaves_nothing_else(tmp_path: Path) -> None:
    for step in (1, 2, 20, 100):
        train.write(a_state(), tmp_path, step)

    assert [path.name for path in train.saved(tmp_path)] == [
        "state-0000000100.safetensors",
        "state-0000000020.safetensors",
    ]
    assert len(list(tmp_path.iterdir())) == 2


def test_write_never_removes_what_it_wrote_beside_files_of_another_run(tmp_path: Path) -> None:
    for step in (28, 30, 1, 2, 3):
        assert train.write(State(tensors={}, facts={}), tmp_path, step).exists()
    assert [path.stem[-2:] for path in train.saved(tmp_path)] == ["30", "28", "03", "02"]


def test_read_notices_one_changed_bit(tmp_path: Path) -> None:
    path = train.write(a_state(), tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="damaged"):
        train.read(path)


def test_read_refuses_a_cut_file_and_one_that_is_not_ours(tmp_path: Path) -> None:
    path = train.write(a_state(), tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="not a readable resume file"):
        train.read(path)

    path.write_text("hello")
    with pytest.raises(CheckpointError, match="not a readable resume file"):
        train.read(path)

    with pytest.raises(CheckpointError, match="not a readable resume file"):
        train.read(tmp_path / "nothing.safetensors")
