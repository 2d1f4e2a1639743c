import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from npas.data.shortest_path import phase

from benchmarks.runs import Record, write
from benchmarks.shortest_path import SIZES, Curriculum, Setting, made, moves
from benchmarks.shortest_path_report import (
    STEPS,
    Runs,
    adapting,
    curves_svg,
    ending,
    report,
    verdict,
)

SMALLEST = dataclasses.replace(
    SIZES["small"],
    architecture="grid-cnn-3-4",
    grid=8,
    extents=(3, 5),
    num_train=40,
    num_test=20,
    epochs=2,
)


def grids(setting: Setting) -> list:
    return [
        phase(e, size=setting.grid, num_train=setting.num_train, num_test=setting.num_test)
        for e in setting.extents
    ]


def test_curriculum_goes_on_with_one_network_and_one_optimizer() -> None:
    way = Curriculum(SMALLEST, "SCNN-R", grids(SMALLEST), 0, "cpu")
    network = way.model

    way.train(0)
    steps = [int(state["step"]) for state in way.optimizer.state.values()]
    way.train(1)

    assert way.model is network
    assert set(steps) == {4}  # 40 grids, batches of 32 and 8 evened out, 2 epochs
    assert {int(state["step"]) for state in way.optimizer.state.values()} == {8}


def test_moves_are_measured_for_every_epoch() -> None:
    plain, pulled = (moves(SMALLEST, network) for network in ("CNN", "SCNN-R"))

    assert len(plain) == len(pulled) == 3
    assert all(0 < move < 1 for move in (*plain, *pulled))
    assert plain != pulled


@pytest.mark.parametrize("network", ["CNN", "SCNN", "SCNN-R", "SCNN-R gently"])
def test_run_is_the_same_every_time_and_tells_every_phase(network: str) -> None:
    one, other = (made(SMALLEST, network, 3, grids(SMALLEST), "cpu") for _ in range(2))

    for record in (one, other):
        del record["seconds"]
    assert one == other
    assert [(row["phase"], row["epoch"]) for row in one["epochs"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert one["f1_after_phase"][1][1] == one["epochs"][-1]["f1"]
    assert one["f1_before_phase"][1] == one["f1_after_phase"][0][1]
    assert (one["layer_similarity_after_phase"][0] is None) == (network == "CNN")


def record(network: str, seed: int, first: float, last: float) -> Record:
    epochs = [
        {"phase": p, "epoch": e, "f1": first if e <= 3 else last, "train_f1": first}
        for p in (1, 2, 3)
        for e in (1, 2, 3, 4)
    ]
    return {
        "network": network,
        "seed": seed,
        "parameters": 100,
        "setting": dataclasses.asdict(dataclasses.replace(SMALLEST, extents=(3, 5, 7), epochs=4)),
        "epochs": epochs,
        "f1_before_phase": [0.0, 0.1, 0.2],
        "f1_after_phase": [[last] * 3] * 3,
        "layer_similarity_after_phase": [None if network == "CNN" else 0.5] * 3,
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for seed, luck in enumerate((-0.02, 0.0, 0.02)):
        write(tmp_path / "s" / f"CNN{seed}.json", record("CNN", seed, 0.5 + luck, 0.9 + luck))
        write(tmp_path / "s" / f"SCNN{seed}.json", record("SCNN", seed, 0.6 + luck, 0.9 - luck))
    return tmp_path


def test_gains_are_taken_seed_by_seed(store: Path) -> None:
    runs = Runs(store / "s")

    fast, end = runs.gains("SCNN", adapting), runs.gains("SCNN", ending)

    # Luck is the same in each pair, so it cancels; at the end it is opposite and does not.
    assert [found.mean for found in fast] == pytest.approx([0.1] * 4)
    assert all(found.is_clear and found.half < 1e-9 for found in fast)
    assert not any(found.is_clear for found in end)
    said = verdict(runs)
    assert "faster to adapt (**+10.0" in said
    assert "3 pairs" in said


def test_report_draws_and_writes_its_section(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    (page.parent / "images").mkdir(parents=True)
    page.write_text("before\n<!-- shortest-path -->\nold\n<!-- /shortest-path -->\nafter\n")

    write(store / STEPS, {"moves": {"CNN": [0.03, 0.002]}})

    report(store, page)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| SCNN less CNN | **+10.0" in text
    assert "| s | SCNN | 3 | **+10.0" in text
    assert "| CNN | 3.00 % | 0.20 % |" in text
    svg = (page.parent / "images" / "shortest-path-s.svg").read_text()
    drawn = {element.get("id") for element in ET.fromstring(svg).iter()}
    assert {"CNN", "SCNN"} <= drawn
    assert svg == curves_svg(Runs(store / "s"), "Shortest paths, s size: F1")
