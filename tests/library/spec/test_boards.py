"""Budgets by the name of a board."""

import json

import pytest
from npas.spec import BudgetSpec
from npas.spec.boards import boards, file_bytes
from pydantic import ValidationError


def test_boards_have_room_for_a_file():
    for name, board in boards().items():
        assert file_bytes(name.upper().replace("-", "_")) == board.file_bytes
        assert 0 < board.file_bytes <= board.flash_bytes, name
        assert name == name.lower()
    assert boards()["nano-33-ble"].flash_bytes == 1 << 20


def test_device_is_a_budget_in_bytes():
    budget = BudgetSpec.model_validate({"device": "nano-33-ble"})
    assert budget.bytes == file_bytes("NANO_33_BLE") == boards()["nano-33-ble"].file_bytes
    assert budget.told == f"{budget.bytes:,} bytes (nano-33-ble)"
    assert BudgetSpec.model_validate({"bytes": 96_000}).bytes == 96_000
    assert BudgetSpec.model_validate(96_000).bytes is None


def test_a_request_says_how_many_bytes_its_board_has(tmp_path, monkeypatch):
    """Whoever reads it later needs no table, and another table changes nothing of it."""
    path = tmp_path / "boards.json"
    path.write_text(json.dumps({"mine": {"flash_bytes": 5000}}))
    monkeypatch.setenv("NPAS_BOARDS", str(path))
    told = BudgetSpec.model_validate({"device": "mine"})
    assert (told.device, told.bytes) == ("mine", 5000)
    path.write_text(json.dumps({"mine": {"flash_bytes": 6000}}))
    assert BudgetSpec.model_validate_json(told.model_dump_json()) == told
    assert BudgetSpec.model_validate({"device": "mine"}) != told
    monkeypatch.delenv("NPAS_BOARDS")
    assert BudgetSpec.model_validate_json(told.model_dump_json()) == told


def test_unknown_device_is_refused_with_those_that_are_known():
    with pytest.raises(ValidationError, match=r"unknown device 'toaster'.*nano-33-ble.*rp2040"):
        BudgetSpec.model_validate({"device": "toaster"})


@pytest.mark.parametrize(
    "given",
    [
        *({}, {"bytes": 1, "parameters": 1}, {"bytes": 0}, {"bytes": 0, "device": "esp32"}),
        *({"fraction": 0.5, "device": "esp32"}, {"bytes": 9, "device": 3}),
    ],
)
def test_exactly_one_kind_of_budget_is_given(given):
    with pytest.raises(ValidationError):
        BudgetSpec.model_validate(given)


def test_own_boards_are_added_and_replace(tmp_path, monkeypatch):
    path = tmp_path / "boards.json"
    path.write_text(json.dumps({"mine": {"flash_bytes": 5000}, "esp32": {"flash_bytes": 7}}))
    monkeypatch.setenv("NPAS_BOARDS", str(path))
    assert (file_bytes("mine"), file_bytes("esp32")) == (5000, 7)
    assert file_bytes("rp2040") > 10**6
    path.write_text(json.dumps({"My_Board": {"flash_bytes": 900}}))
    assert file_bytes("my-board") == file_bytes("My_Board") == 900
    path.write_text("[]")
    with pytest.raises(ValueError, match="NPAS_BOARDS"):
        file_bytes("mine")


def test_a_table_may_write_names_as_it_likes(tmp_path, monkeypatch):
    table = tmp_path / "boards.json"
    table.write_text('{"My_Board": {"flash_bytes": 1000, "program_bytes": 400}}')
    monkeypatch.setenv("NPAS_BOARDS", str(table))
    assert {file_bytes(name) for name in ("My_Board", "my-board", "MY_BOARD")} == {600}
