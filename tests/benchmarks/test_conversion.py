"""The benchmark of conversions: what it asks for, what it stores, what it says."""

import threading

import pytest
import torch
from npas.spec import DatasetSpec, TrainingSpec

from benchmarks.conversions.arms import ARMS, Cell, cells, job
from benchmarks.conversions.making import make_record, without_record
from benchmarks.conversions.report import StoredConversions, conversion_section, verdicts
from benchmarks.conversions.settings import ConversionSetting, conversion_setting
from benchmarks.conversions.teachers import Teacher, make_teacher
from benchmarks.runs import Place, write
from benchmarks.stored_runs import check_setting

SETTING = ConversionSetting(
    name="digits-tiny",
    architecture="resnet-14",
    dataset=DatasetSpec(name="digits", train_images=200, test_images=50),
    training=TrainingSpec(epochs=2, batch_size=32, validation_fraction=0, keep="last"),
    budgets=(0.5, 0.25),
)
NEVER = threading.Event()


@pytest.fixture
def place(tmp_path):
    torch.set_num_threads(1)
    return Place(
        store=tmp_path / "store" / SETTING.name,
        work=tmp_path / "work",
        data=tmp_path / "data",
        device="cpu",
        threads=1,
    )


def test_cells_of_all_seeds_come_before_parts_of_the_first():
    found = cells(list(ARMS), SETTING.budgets, [0, 1])
    assert len(found) == len(set(found))
    parts = [ARMS[cell.arm].first_seed_only for cell in found]
    assert parts == sorted(parts)
    assert {cell.seed for cell in found if ARMS[cell.arm].first_seed_only} == {0}
    whole = [cell for cell in found if ARMS[cell.arm].at_full_size]
    assert [(cell.budget, cell.seed) for cell in whole] == [(1, 0), (1, 1)]


def test_every_arm_has_a_fifth_of_the_epochs_and_no_search():
    setting = conversion_setting("small", "cifar10")
    for arm in ARMS:
        cell = Cell(arm=arm, budget=0.5, seed=0)
        asked = job(setting, cell, checkpoint="0" * 64, teacher="t")
        assert asked.training.epochs * 5 == setting.training.epochs
        assert (asked.start is None) == (ARMS[arm].fit is None)
        assert asked.method.name != "block_mix" or asked.method.options["search"] is False
        told = asked.training.distillation
        who = "start" if ARMS[arm].fit else "checkpoint:t"
        assert (told.teacher if told else None) == (who if ARMS[arm].teacher else None)


def test_records_are_made_and_told(place):
    place.data.mkdir()
    check_setting(SETTING, place)
    everything = cells(list(ARMS), SETTING.budgets, [0])
    assert without_record(everything, place) == []  # its network is not trained
    make_teacher(SETTING, place, Teacher(0), NEVER)
    wanted = [
        Cell(arm=arm, budget=budget, seed=0)
        for arm, budget in (("convert", 0.5), ("scratch-taught", 0.5), ("dense-taught", 1))
    ]
    for cell in wanted:
        made = make_record(SETTING, place, cell, NEVER)
        assert made["status"] == "done"
        assert made["epochs"] == 1
    assert without_record(wanted, place) == []
    stored = StoredConversions.read(place.store)
    trained = stored.trained[0]["accuracy"]
    converted = stored.records["convert", 0.5, 0]
    assert converted["start"]["source_accuracy"] == converted["teacher_accuracy"] == trained
    assert stored.records["scratch-taught", 0.5, 0]["teacher_accuracy"] == trained
    section = conversion_section(stored, "digits-tiny")
    assert f"| {ARMS['convert'].title}, 50 % | 1 | {100 * trained:.1f} |" in section
    with pytest.raises(SystemExit, match="runs of another setting"):
        check_setting(conversion_setting("small", "digits"), place)


def test_verdicts_are_of_means_by_seed(place):
    write(place.store / "setting.json", SETTING.to_json())
    for seed, (trained, converted, scratch) in enumerate([(0.9, 0.88, 0.8), (0.8, 0.81, 0.82)]):
        for arm, value in (("teacher", trained), ("convert", converted), ("scratch", scratch)):
            record = {"arm": arm, "budget": 0.5, "seed": seed, "status": "done", "accuracy": value}
            write(place.store / f"{arm}-{seed}.json", record)
    near, ahead = verdicts(StoredConversions.read(place.store))
    assert near.startswith("At 50 %, -0.5")
    assert near.endswith(": met.")
    assert ahead.startswith("At 50 %, +3.5")
    assert ahead.endswith(": met.")
