import json
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import npas
import npas.data
import pytest
import torch
from npas.ensembles.predictions import Predictions
from npas.spec import ArchitectureSpec, DatasetSpec, NetworkSpec, TrainingSpec

from benchmarks.ensemble import STORE, report, run_missing
from benchmarks.ensembles.anytime import anytime_of
from benchmarks.ensembles.arms import ARMS, Cell, budget, cells, jobs, peer
from benchmarks.ensembles.by_trainer import OBJECTIVES, trainer_of
from benchmarks.ensembles.images import held_out
from benchmarks.ensembles.kept import Kept
from benchmarks.ensembles.making import make_cell, missing_cells
from benchmarks.ensembles.measures import mean_between, subset_points
from benchmarks.ensembles.picture import ensemble_svg, mean_steps
from benchmarks.ensembles.report import differences_table, scores_table, section
from benchmarks.ensembles.settings import SIZES, Configuration, Setting, setting
from benchmarks.ensembles.stored import Stored
from benchmarks.peers.fitting import num_parameters
from benchmarks.runs import Place
from benchmarks.stored_runs import with_defaults


def _member(name: str, depth: int, scale: float) -> NetworkSpec:
    architecture = ArchitectureSpec(name=f"wrn-{depth}-1", input_size=8, options={"scale": scale})
    return NetworkSpec(name=name, architecture=architecture)


SMALLEST = Setting(
    name="digits-tiny",
    dataset=DatasetSpec(name="digits", train_images=64, test_images=20),
    training=TrainingSpec(
        epochs=1, batch_size=32, validation_fraction=0, keep="last", learning_rate=0.05
    ),
    configurations={
        "pair": Configuration(
            name="pair",
            title="a pair",
            networks=(_member("wide", 10, 0.5), _member("slim", 10, 0.25)),
            fraction=0.6,
        )
    },
    held_out=30,
    corrupted=3,
    heads=2,
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = tmp_path / "records" / SMALLEST.name
    return Place(store=store, work=tmp_path / "work", data=None, device="cpu", threads=1)


@pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if arm.kind == "peer"])
def test_peers_are_as_wide_as_the_bank_allows(arm: str) -> None:
    facts = npas.data.facts(SMALLEST.dataset)
    limit = budget(SMALLEST.configurations["pair"], facts)

    model = peer(SMALLEST, Cell(configuration="pair", arm=arm, seed=0), facts)

    assert 0.6 * limit < num_parameters(model) <= limit
    again = peer(SMALLEST, Cell(configuration="pair", arm=arm, seed=0), facts)
    other = peer(SMALLEST, Cell(configuration="pair", arm=arm, seed=1), facts)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    assert not all(map(torch.equal, model.parameters(), other.parameters()))


def test_cells_begin_with_all_arms_of_one_seed() -> None:
    found = cells(["packed", "mimo"], ["pair", "width"], seeds=2)

    assert [each.name for each in found[:4]] == [
        "pair-packed-0",
        "pair-mimo-0",
        "width-packed-0",
        "width-mimo-0",
    ]
    assert [each.seed for each in found] == [0] * 4 + [1] * 4


def _sizes(chosen: Setting, configuration: str, arm: str) -> tuple[int, int, int]:
    """Return total, budget and dense size of an arm's jobs, each the sum over them."""
    cell = Cell(configuration=configuration, arm=arm, seed=3)
    plans = [npas.plan(job) for job in jobs(chosen, cell).values()]
    total, limit = (sum(getattr(p.ledger, key) for p in plans) for key in ("total", "budget"))
    return total, limit, sum(plan.dense for plan in plans)


@pytest.mark.parametrize("size", SIZES)
def test_networks_apart_have_together_what_the_bank_has_or_less(size: str) -> None:
    chosen = setting(size, "cifar10")
    facts = npas.data.facts(chosen.dataset)
    for name, configuration in chosen.configurations.items():
        limit = budget(configuration, facts)
        total, _, dense = _sizes(chosen, name, "separate-narrow")
        assert 0.9 * limit < total <= limit
        assert limit == int(configuration.fraction * dense)


def test_a_bank_has_the_budget_and_whole_networks_have_more() -> None:
    chosen = setting("small", "cifar10")
    facts = npas.data.facts(chosen.dataset)
    for name, configuration in chosen.configurations.items():
        limit = budget(configuration, facts)
        bank, bank_limit, dense = _sizes(chosen, name, "shared-superweights")
        assert bank <= bank_limit == limit
        assert limit < _sizes(chosen, name, "separate-full")[0] == dense


def test_all_arms_have_the_same_images_and_schedule() -> None:
    small = setting("small", "cifar10")
    for arm in ARMS:
        for job in jobs(small, Cell(configuration="width", arm=arm, seed=2)).values():
            assert job.training == small.training
            assert job.dataset == small.dataset
    for arm in (arm for arm, about in ARMS.items() if about.kind == "peer"):
        cell = Cell(configuration="pair", arm=arm, seed=2)
        here = Place(store=Path(), work=Path(), data=None, device="cpu", threads=1)
        trainer, model = trainer_of(SMALLEST, cell, here, torch.device("cpu"))
        assert trainer.objective.spec == SMALLEST.training
        assert trainer.inputs == npas.data.load(SMALLEST.dataset).inputs(input_size=8)
        assert (type(model) in OBJECTIVES) == (type(trainer.objective) in OBJECTIVES.values())


def test_images_held_out_are_not_trained_on() -> None:
    whole = npas.data.load("digits")

    found = held_out(SMALLEST, None)

    assert torch.equal(found.images, whole.x_train[-30:])
    assert torch.equal(found.labels, whole.y_train[-30:])
    crowded = replace(SMALLEST, dataset=DatasetSpec(name="digits", train_images=1420))
    with pytest.raises(ValueError, match="held out"):
        held_out(crowded, None)


def test_a_bank_goes_the_whole_way_and_pauses_on_it(place: Place) -> None:
    cell, stopping = Cell(configuration="pair", arm="shared-block_mix", seed=0), threading.Event()
    stopping.set()

    assert make_cell(SMALLEST, place, cell, stopping) is None
    assert missing_cells([cell], place) == [cell]
    stopping.clear()
    record = make_cell(SMALLEST, place, cell, stopping)

    assert record is not None
    assert record == json.loads((place.store / f"{cell.name}.json").read_text())
    assert missing_cells([cell], place) == []
    assert record["status"] == "done"
    assert record["members"] == ["wide", "slim"]
    assert 0.8 * record["budget"] < record["parameters"] <= record["budget"]
    assert record["macs"] == sum(record["member_macs"].values())
    assert [each["members"] for each in record["subsets"]] == [
        ["wide"],
        ["slim"],
        ["wide", "slim"],
    ]
    assert record["subsets"][-1]["accuracy"] == record["accuracy"]
    assert len(record["corrupted"]["by_corruption"]) == 15
    # Forward and backward of every image, in the search and in the training.
    epochs = len({(row["stage"], row["epoch"]) for row in record["curve"]})
    assert record["train_macs"] >= 3 * 64 * epochs * record["macs"]
    kept = Kept.read(place.work / SMALLEST.name / "predictions" / f"{cell.name}.npz")
    assert kept.macs == record["member_macs"]
    assert len(kept.held_out.labels) == 30
    assert anytime_of(kept) == record["anytime"]
    assert not [*place.work.rglob("*.safetensors")]


@pytest.mark.parametrize("arm", ["mimo", "separate-narrow"])
def test_other_arms_go_the_whole_way(place: Place, arm: str) -> None:
    cell = Cell(configuration="pair", arm=arm, seed=0)

    record = make_cell(SMALLEST, place, cell, threading.Event())

    assert record is not None
    assert record["parameters"] <= record["budget"]
    each = record["member_macs"].values()
    assert record["macs"] == (max(each) if arm == "mimo" else sum(each))
    assert record["cpu_seconds"] > 0
    assert record["train_macs"] == 3 * 64 * record["macs"]


class _SetOnce:
    """An event that is set when it is asked for the nth time, and at no other time."""

    def __init__(self, number: int) -> None:
        self.left = number

    def is_set(self) -> bool:
        """Tell."""
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize(("arm", "asked"), [("early-exit", 2), ("shared-block_mix", 4)])
def test_what_is_paused_goes_on_to_the_same_record(place: Place, arm: str, asked: int) -> None:
    """The bank is paused in its training: its search is counted all the same."""
    cell = Cell(configuration="pair", arm=arm, seed=0)
    whole = make_cell(SMALLEST, place, cell, threading.Event())
    (place.store / f"{cell.name}.json").unlink()

    paused = make_cell(SMALLEST, place, cell, _SetOnce(asked))
    stages = [*(place.work / SMALLEST.name / cell.name).rglob("state-*")]
    gone_on = make_cell(SMALLEST, place, cell, threading.Event())

    assert paused is None
    assert stages
    assert whole is not None
    assert gone_on is not None
    times = {"cpu_seconds", "grading_seconds", "curve"}
    assert {k: v for k, v in whole.items() if k not in times} == {
        k: v for k, v in gone_on.items() if k not in times
    }
    if arm != "early-exit":
        assert [row["stage"] for row in whole["curve"]] == ["search", "train"]
        assert [row["stage"] for row in gone_on["curve"]] == ["train"]


def test_thresholds_are_chosen_on_images_held_out() -> None:
    torch.manual_seed(0)
    labels = torch.randint(3, (40,))
    right = torch.nn.functional.one_hot(labels, 3).float()

    def said(scale: float, wrong: float) -> torch.Tensor:
        return torch.log_softmax(scale * right + wrong * torch.randn(40, 3), dim=1)

    own = Predictions(log_p={"dear": said(4, 1), "cheap": said(3, 1)}, labels=labels)
    test = Predictions(log_p={"dear": said(4, 1), "cheap": said(3, 1)}, labels=labels)

    found = anytime_of(Kept(held_out=own, test=test, macs={"dear": 10, "cheap": 2}))

    assert [each["macs"] for each in found["by_size"]] == [2, 12]
    assert found["stops"][0]["macs"] <= found["stops"][-1]["macs"]
    exits = anytime_of(
        Kept(held_out=own, test=test, macs={"dear": 10, "cheap": 12}), is_cascade=True
    )
    assert [each["macs"] for each in exits["ladder"]] == [10, 12]
    other = Predictions(log_p={"dear": said(0, 1), "cheap": said(0, 1)}, labels=labels)
    again = anytime_of(Kept(held_out=own, test=other, macs={"dear": 10, "cheap": 2}))
    assert (again["rungs"], again["threshold"]) == (found["rungs"], found["threshold"])


def test_mean_between_costs_is_of_what_was_chosen_not_of_what_was_best() -> None:
    points = [(1.0, 0.5), (3.0, 0.4), (5.0, 0.8)]

    assert mean_between(points, 1, 5) == pytest.approx((2 * 0.5 + 2 * 0.4) / 4)
    assert mean_between(points, 2, 6) == pytest.approx((0.5 + 2 * 0.4 + 0.8) / 4)
    assert mean_between(points, 7, 9) == pytest.approx(0.8)
    assert mean_between(points, 0.5, 9) is None
    steps = mean_steps([points, [(2.0, 0.7)]])
    assert [cost for cost, _ in steps] == [2, 3, 5]
    assert [value for _, value in steps] == pytest.approx([0.6, 0.55, 0.75])


def _record(arm: str, seed: int, accuracy: float, **content: Any) -> dict[str, Any]:
    scores = {"accuracy": accuracy, "nll": 1 - accuracy, "ece": 0.1}
    subsets = [
        {"members": names, "macs": macs, "held_out_accuracy": own, **scores}
        for names, macs, own in (
            (["slim"], 1e6, 0.4),
            (["wide"], 3e6, 0.3),
            (["wide", "slim"], 4e6, 0.5),
        )
    ]
    points = [{"macs": m, **scores} for m in (1e6, 4e6)]
    return {
        "configuration": "pair", "arm": arm, "seed": seed, "status": "done", "budget": 1000,
        "parameters": 990, "macs": 4_000_000, "train_macs": 5e12, "cpu_seconds": 30.0,
        "disagreement": 0.3, "device": "cpu", "versions": {"torch": "2"}, "subsets": subsets,
        "corrupted": scores | {"accuracy": accuracy / 2},
        "anytime": {
            "ladder": points, "by_size": points, "threshold": 0.7,
            "stopped": {"macs": 2e6, **scores},
        },
        **scores, **content,
    }  # fmt: skip


def _stored() -> Stored:
    found = [
        _record("shared-block_mix", seed, accuracy)
        for seed, accuracy in enumerate((0.61, 0.72, 0.83))
    ]
    found += [
        _record("packed", seed, accuracy) for seed, accuracy in enumerate((0.60, 0.70, 0.80))
    ]
    found += [_record("early-exit", 0, 0.5), _record("mimo", 0, 0.5)]
    found += [_record("batch-ensemble", 1, 0.5) | {"status": "diverged"}]
    return Stored(SMALLEST.to_json(), found)


def test_tables_pair_by_seed_and_say_what_is_missing() -> None:
    stored = _stored()
    pm = "\N{PLUS-MINUS SIGN}"

    rows = {r.split(" | ")[0]: r for r in scores_table(stored, "pair").splitlines()}
    lead = {
        r.split(" | ")[0]: r
        for r in differences_table(stored, "pair", "shared-block_mix").splitlines()
    }

    half = 4.303 * 0.1 / 3**0.5
    assert (
        f"| 3 | 990 | 70.0 {pm} {100 * half:.1f} | 0.300 {pm} {half:.3f} |"
        in rows["| Packed-Ensembles x4"]
    )
    assert "| 1 | 990 | 50.0 | 0.500 |" in rows["| MIMO"]
    assert rows["| BatchEnsemble x4 (1 diverged)"].endswith("| 0 | - | - | - | - | - | - | - |")
    assert f"| +2.0 {pm} 2.5 | -0.020 {pm} 0.025 |" in lead["| Packed-Ensembles x4"]
    assert "| +11.0 | -0.110 |" in lead["| MIMO"]


def test_subsets_are_chosen_by_images_held_out() -> None:
    record = _record("packed", 0, 0.6)
    record["subsets"][1]["accuracy"] = 0.99  # the best of all, which nobody could know

    assert subset_points(record) == [(1e6, 0.6), (4e6, 0.6)]


def test_section_and_picture_hold_every_arm() -> None:
    stored = _stored()

    text = section(stored, "digits-tiny", "picture.svg")
    page = ET.fromstring(ensemble_svg(stored))

    assert "### digits-tiny" in text
    assert "one bank, block mix: asked one after another" in text
    assert "| one bank, block mix | 3 | 0.70 | 50 % |" in text
    drawn = Counter(each.get("id") for each in page.iter())
    assert drawn["packed"] == drawn["mimo"] == drawn["shared-block_mix"] >= 2  # a panel each
    assert drawn["cost-early-exit"] == 1
    assert "no run is done yet" in ensemble_svg(Stored(SMALLEST.to_json(), []))


def test_stored_records_are_of_what_their_arms_ask_for() -> None:
    for folder in STORE.iterdir() if STORE.exists() else ():
        stored = Stored.read(folder)
        dataset, size = folder.name.rsplit("-", 1)
        assert with_defaults(stored.setting) == setting(size, dataset).to_json()
        for record in stored.records:
            cell = Cell(
                configuration=record["configuration"], arm=record["arm"], seed=record["seed"]
            )
            assert (folder / f"{cell.name}.json").exists()
            assert record["status"] == "diverged" or (
                ARMS[cell.arm].is_within == (record["parameters"] <= record["budget"])
            )


def test_command_makes_what_is_missing_in_processes_and_reports(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "results.md"
    (page.parent / "images").mkdir(parents=True)
    page.write_text("# Results\n\n<!-- ensemble -->\n<!-- /ensemble -->\n\nend\n")
    wanted = cells(["early-exit"], ["pair"], seeds=1)

    for _ in range(2):
        run_missing(SMALLEST, wanted, place, jobs=1)
    report(place.store.parent, page)

    said = capsys.readouterr().out
    assert "1 records to make of 1" in said
    assert "[1/1] pair-early-exit-0" in said
    assert "0 records to make of 1" in said
    assert "| early exits |" in page.read_text()
    assert page.read_text().endswith("<!-- /ensemble -->\n\nend\n")
    assert (page.parent / "images" / "ensemble-digits-tiny.svg").exists()
    longer = SMALLEST.training.model_copy(update={"epochs": 2})
    with pytest.raises(SystemExit, match="holds runs of another setting"):
        run_missing(replace(SMALLEST, training=longer), [], place, jobs=1)
