import json
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from npas.spec import DatasetSpec, TrainingSpec

from benchmarks.arms import BUDGETS, Cell, Setting, cells, job
from benchmarks.evidence import lots
from benchmarks.methods import STORE, report, run_missing
from benchmarks.plots import accuracy_svg
from benchmarks.runs import Place, make, missing
from benchmarks.scores import Stored, accuracies, choices, costs, differences, score, section, t95

SMALLEST = Setting(
    name="digits-tiny",
    architecture="wrn-10-1",
    dataset=DatasetSpec(name="digits", train_images=64, test_images=20),
    training=TrainingSpec(epochs=1, batch_size=32, validation_fraction=0, keep="last"),
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = tmp_path / "runs" / SMALLEST.name
    return Place(store=store, work=tmp_path / "work", data=None, device="cpu", threads=1)


def test_cells_begin_with_all_arms_of_one_seed() -> None:
    found = cells(["dense", "uniform", "block_mix"], BUDGETS, seeds=2)

    assert [cell.name for cell in found[:5]] == [
        "dense-100-0",
        "uniform-25-0",
        "block_mix-25-0",
        "uniform-10-0",
        "block_mix-10-0",
    ]
    assert len(found) == 2 * (1 + 2 * len(BUDGETS))
    assert [cell.seed for cell in found] == sorted(cell.seed for cell in found)


def test_runner_stores_runs_goes_on_with_paused_ones_and_makes_none_twice(place: Place) -> None:
    cell = Cell(arm="block_mix", budget=0.6, seed=0)
    stopping = threading.Event()
    stopping.set()

    assert missing(SMALLEST, [cell], place) == ([cell], [])
    assert make(SMALLEST, cell, place, stopping) is None
    assert missing(SMALLEST, [cell], place) == ([cell], [])
    stopping.clear()
    record = make(SMALLEST, cell, place, stopping)

    assert record is not None
    assert record == json.loads(place.file(cell).read_text())
    assert record["resumed"]
    assert record["status"] == "done"
    assert record["parameters"] <= record["budget"] == int(0.6 * record["dense"])
    assert [row["stage"] for row in record["curve"]] == ["search", "train"]
    assert 0 < record["search_seconds"] < record["seconds"]
    assert 0 <= record["accuracy"] <= 1
    assert missing(SMALLEST, [cell], place) == ([], [])
    assert not [*place.work.rglob("*.safetensors")]


def test_stored_runs_are_of_what_their_arms_ask_for() -> None:
    for folder in STORE.iterdir():
        stored = Stored.read(folder)
        setting = Setting(
            name=folder.name,
            architecture=stored.setting["architecture"],
            dataset=DatasetSpec.model_validate(stored.setting["dataset"]),
            training=TrainingSpec.model_validate_json(json.dumps(stored.setting["training"])),
        )
        assert stored.arms
        for record in stored.records:
            cell = Cell(arm=record["arm"], budget=record["fraction"], seed=record["seed"])
            assert job(setting, cell).method.model_dump(mode="json") == record["method"]
            assert (folder / f"{cell.name}.json").exists()


def test_runner_races_only_where_the_arm_is_a_race(place: Place) -> None:
    cell = Cell(arm="auto", budget=0.6, seed=0)

    record = make(SMALLEST, cell, place, threading.Event())

    assert record is not None
    assert record["status"] == "raced"
    assert record["race"]["method"] in {each["method"] for each in record["race"]["candidates"]}
    assert missing(SMALLEST, [cell], place) == ([], [])


def test_runner_tells_runs_of_older_plans_and_arms_that_do_not_exist(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(arm="uniform", budget=0.6, seed=0)
    place.store.mkdir(parents=True)
    place.file(cell).write_text(json.dumps({"status": "done", "plan": "of long ago"}))
    arms = {"uniform": _arm("dense"), "narrow": _arm("no_such_method")}
    monkeypatch.setattr("benchmarks.arms.ARMS", arms)
    full = Cell(arm="uniform", budget=1.0, seed=0)
    place.file(full).write_text(json.dumps({"status": "done", "plan": "of long ago"}))

    wanted, notes = missing(SMALLEST, [full, Cell(arm="narrow", budget=0.6, seed=0)], place)

    assert wanted == []
    assert len(notes) == 2
    assert "plans that this code does not make any more" in notes[0]
    assert "narrow cannot be run: unknown method 'no_such_method'" in notes[1]


def test_random_groups_are_the_seeds_and_cover_every_layer() -> None:
    first, second = (Cell(arm="block_mix", budget=0.5, seed=seed) for seed in (0, 1))
    one, other = (lots(SMALLEST, cell, None) for cell in (first, second))

    assert one == lots(SMALLEST, first, None)
    assert one != other
    assert all(row[i] == 1 for s in one.classes for i, row in enumerate(s.cosine))


def _record(arm: str, fraction: float, seed: int, **content: Any) -> dict[str, Any]:
    facts = {"arm": arm, "fraction": fraction, "seed": seed, "status": "done", "dense": 1000}
    costs = {"parameters": 240, "budget": 250, "cpu_seconds": 50.0, "seconds": 60.0}
    return facts | costs | {"search_seconds": 0.0, "versions": {"torch": "2"}} | content


def _stored(**accuracies: Mapping[int, float]) -> Stored:
    records = [
        _record(arm, 1.0 if arm == "dense" else 0.25, seed, accuracy=accuracy)
        for arm, found in accuracies.items()
        for seed, accuracy in found.items()
    ]
    return Stored(SMALLEST.to_json(), records)


def test_cells_of_fewer_seeds_than_others_say_so() -> None:
    equal = _stored(narrow={0: 0.5, 1: 0.6}, block_mix={0: 0.6, 1: 0.6})
    uneven = _stored(narrow={0: 0.5}, block_mix={0: 0.6, 1: 0.6})

    assert "[" not in accuracies(equal)
    assert ". 2 seeds; intervals" in section(equal, "picture.svg")
    assert "50.0 [1]" in accuracies(uneven)
    assert "2 seeds, or as many as [ ] says" in section(uneven, "picture.svg")


def test_mean_and_interval_are_students() -> None:
    found = score([0.5, 0.6, 0.7])

    assert found is not None
    assert found.mean == pytest.approx(0.6)
    assert found.half == pytest.approx(4.303 * 0.1 / 3**0.5)  # two degrees of freedom
    assert found.text() == "60.0 \N{PLUS-MINUS SIGN} 24.8"
    assert score([0.5]).text() == "50.0"  # type: ignore[union-attr]  # one value has a mean
    assert score([]) is None
    assert [t95(n) for n in (1, 10)] == [12.706, 2.228]
    assert t95(11) == pytest.approx(2.201, abs=1e-3)  # from printed tables
    assert t95(30) == pytest.approx(2.042, abs=1e-3)


def test_differences_are_paired_by_seed_and_bold_when_clear() -> None:
    stored = _stored(
        dense={0: 0.90, 1: 0.80, 2: 0.70},
        narrow={0: 0.50, 1: 0.60, 2: 0.70},
        block_mix={0: 0.51, 1: 0.62, 2: 0.73, 3: 0.99},
    )

    found = stored.difference("block_mix", "narrow", 0.25)

    assert found is not None
    assert found.count == 3  # the fourth seed has no partner
    assert found.mean == pytest.approx(0.02)
    assert found.half == pytest.approx(4.303 * 0.01 / 3**0.5)
    rows = differences(stored, "block_mix", ["narrow", "dense"]).splitlines()
    assert rows[0] == "| block mix, by gradients less ... | 25 % |"
    assert rows[2] == "| narrower network | +2.0 \N{PLUS-MINUS SIGN} 2.5 |"
    clear = _stored(narrow={0: 0.5, 1: 0.6}, block_mix={0: 0.6, 1: 0.7001})
    assert "**+10.0 \N{PLUS-MINUS SIGN} 0.1**" in differences(clear, "block_mix", ["narrow"])


def test_table_shows_what_is_infeasible_diverged_and_not_done_yet() -> None:
    stored = Stored(
        SMALLEST.to_json(),
        [
            _record("soft_sharing", 0.25, 0, status="infeasible", minimum=723),
            _record("soft_sharing", 0.5, 0, accuracy=0.5),
            _record("narrow", 0.25, 0, accuracy=0.75),
            _record("narrow", 0.25, 1, status="diverged"),
        ],
    )

    rows = accuracies(stored).splitlines()

    assert rows[0] == "| test accuracy, % | 50 % | 25 % |"
    assert rows[2] == "| narrower network | - | 75.0 (1 diverged) |"
    assert rows[3] == "| soft sharing | 50.0 | needs 72.3 % |"
    assert "| narrower network | 96.0 to 96.0 % | 50 | none |" in costs(stored)


def test_choices_of_a_race_are_judged_by_the_runs_of_what_it_chose() -> None:
    race = {"epochs": 11, "candidates": [{}] * 5, "method": "narrow"}
    stored = _stored(
        narrow={0: 0.50, 1: 0.60, 2: 0.70}, uniform={0: 0.60, 1: 0.62, 2: 0.64}, dense={0: 0.9}
    )
    wins = ["narrow", "uniform", "uniform (bins 2)"]
    content = {"dense": 1000, "status": "raced"}
    stored.records += [
        {"arm": "auto", "fraction": 0.25, "seed": seed, "race": race | {"method": win}} | content
        for seed, win in enumerate(wins)
    ]
    stored = Stored(SMALLEST.to_json() | {"training": {"epochs": 10}}, stored.records)

    assert stored.values("auto", 0.25) == {0: 0.50, 1: 0.62, 2: 0.64}
    row = choices(stored, "auto").splitlines()[2].split(" | ")
    assert row[0] == "| 25 %"
    assert row[1] == "uniform sharing (2), narrower network (1)"
    assert row[3].startswith("uniform sharing, 62.0")
    assert row[4:] == ["-3.3 of 1.2", "no", "22 % |"]  # (0.5 + 0.62 + 0.64) / 3 - 0.62; 11 of 50


def test_picture_holds_every_arm_and_shows_parts_beside_their_whole() -> None:
    stored = _stored(
        dense={0: 0.9, 1: 0.92},
        narrow={0: 0.5, 1: 0.6},
        block_mix={0: 0.6, 1: 0.61},
        **{"block_mix-depth": {0: 0.55, 1: 0.56}},
    )

    page = ET.fromstring(accuracy_svg(stored))

    drawn = Counter(element.get("id") for element in page.iter())
    assert drawn["narrow"] == drawn["block_mix-depth"] == 2  # a line and its bars
    assert drawn["block_mix"] == 4  # again beside its part
    assert "no run is done yet" in accuracy_svg(Stored(SMALLEST.to_json(), []))


def test_runs_of_different_settings_are_not_mixed(place: Place) -> None:
    run_missing(SMALLEST, [], place, jobs=1)
    longer = SMALLEST.training.model_copy(update={"epochs": 2})

    with pytest.raises(SystemExit, match="holds runs of another setting"):
        run_missing(replace(SMALLEST, training=longer), [], place, jobs=1)


def test_command_makes_what_is_missing_in_processes_and_reports(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "results.md"
    (page.parent / "images").mkdir(parents=True)
    page.write_text("# Results\n\n<!-- methods -->\n<!-- /methods -->\n\nend\n")
    wanted = cells(["dense", "soft_sharing"], [0.3], seeds=1)

    for _ in range(2):
        run_missing(SMALLEST, wanted, place, jobs=1)
    report(place.store.parent, page)

    said = capsys.readouterr().out
    assert "1 runs to make of 2" in said
    assert "[1/1] dense-100-0" in said
    assert "0 runs to make of 2" in said
    text = page.read_text()
    assert "needs" in text
    assert text.endswith("<!-- /methods -->\n\nend\n")
    assert (page.parent / "images" / "methods-digits-tiny.svg").exists()


def _arm(method: str) -> Any:
    from benchmarks.arms import Arm

    return Arm(title=method, method=method)
