"""A repository of the hub: what is written is read back, and what would be pushed is there."""

import npas
import pytest
import torch
from huggingface_hub import ModelCard, ModelHubMixin
from huggingface_hub.errors import HFValidationError
from npas.delivery.hub import _TOLD, NpasModel
from npas.delivery.report import Report
from npas.errors import CheckpointError, InvalidSpecError
from torch import nn

REPORT = {
    "dataset": "digits",
    "accuracy": 0.9123456,
    "distillation": {"teacher": "start", "accuracy": 0.95},
    "unknown": "left out",
}


def network():
    plan = npas.plan("resnet-8", budget=40_000)
    return npas.share(npas.build("resnet-8"), plan).eval()


def test_a_folder_gives_the_same_network(tmp_path):
    net, x = network(), torch.randn(2, 3, 32, 32)
    NpasModel(net, report=REPORT).save_pretrained(tmp_path / "repository")
    again = npas.NpasModel.from_pretrained(tmp_path / "repository")
    assert torch.equal(again(x), net(x))
    assert again.net.plan == net.plan
    assert {file.name for file in (tmp_path / "repository").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    assert again.report == REPORT
    assert isinstance(again, ModelHubMixin)


def test_the_card_tells_what_is_known(tmp_path):
    NpasModel(network(), report=REPORT).save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "npas"
    assert card.data.tags == ["model_hub_mixin", "npas", "parameter-sharing"]
    for told in (
        "| accuracy | 0.9123 |",
        "| dataset | digits |",
        "| distillation, teacher | start |",
    ):
        assert told in card.text
    plan = npas.load(tmp_path / "model.safetensors").plan
    assert f"{plan.ledger.total:,} of the {plan.ledger.dense:,}" in card.text
    assert "left out" not in card.text


def test_parts_that_a_card_tells_are_those_of_reports():
    assert set(_TOLD) <= Report.model_fields.keys()


def test_a_card_without_a_report_tells_of_the_plan(tmp_path):
    NpasModel(network()).save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "What is known of it" not in text
    assert "## Plan" in text


def test_pushing_needs_a_repository_that_is_one(monkeypatch):
    """Nothing is sent: the client refuses the name, or finds no network, before a file moves."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HFValidationError, match="Repo id"):
        NpasModel(network()).push_to_hub("no/such/name")


def test_what_is_no_folder_of_ours_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        NpasModel.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        NpasModel.from_pretrained("no-such-folder")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        NpasModel.from_pretrained(tmp_path)
    with pytest.raises(InvalidSpecError):
        NpasModel(torch.nn.Linear(2, 2))


def test_a_module_of_ones_own_comes_back_into_one(tmp_path):
    net = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(4)))
    model = npas.share(net, npas.plan(net, budget={"fraction": 0.6}))
    npas.NpasModel(model).save_pretrained(tmp_path)
    fresh = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(4)))
    x = torch.ones(1, 8)
    again = npas.NpasModel.from_pretrained(tmp_path, into=fresh)
    assert torch.equal(again(x), model.eval()(x))


def test_a_plan_in_bytes_holds_in_a_repository_and_its_card_tells_them(tmp_path):
    plan = npas.plan("resnet-8", budget={"bytes": 9_000}, method="superweights")
    net = npas.share(npas.build("resnet-8"), plan).eval()
    report = REPORT | {"coding": {"accuracy_before_rounding": 0.95, "steps": {"a": 0.25}}}
    NpasModel(net, report=report).save_pretrained(tmp_path / "a")
    size = (tmp_path / "a" / "model.safetensors").stat().st_size
    assert 0.99 * 9_000 < size <= 9_000
    text = (tmp_path / "a" / "README.md").read_text()
    assert f"| bytes | {size:,} |" in text
    for told in ("The budget was 9,000 bytes of file", "| budget in bytes | 9,000 |"):
        assert told in text
    for told in (
        "| accuracy before rounding | 0.95 |",
        "| coding | npas-coded-1, ",
        "| rounded |",
    ):
        assert told in text
    assert "steps" not in text
    NpasModel.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    files = [tmp_path / each / "model.safetensors" for each in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "| rounded |" not in (tmp_path / "b" / "README.md").read_text()


def test_a_plain_file_says_so(tmp_path):
    NpasModel(network()).save_pretrained(tmp_path)
    assert "| coding | none: weights as they are |" in (tmp_path / "README.md").read_text()


def test_the_card_of_an_own_module_says_where_it_is_put(tmp_path):
    module = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 30))
    plan = npas.plan(module, budget={"fraction": 0.7}, example=(torch.zeros(2, 30),))
    NpasModel(npas.share(module, plan)).save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert 'from_pretrained("OWNER/NAME", into=MODULE).net' in text
    assert "Sequential in" in text
