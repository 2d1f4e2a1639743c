"""What a claim's epochs took, with those left out that an earlier claim trained."""

import pytest
import torch
from npas.jobs.workload import StageWork, Workload
from npas_worker import speed
from npas_worker.stopwatch import Stopwatch


def stage(name, steps, unit):
    return StageWork(
        stage=name, steps=steps, operations=steps, macs=unit * steps, kept_bytes=2 * steps
    )


@pytest.fixture
def work():
    return Workload(
        kind="k",
        family="f",
        stages=(
            stage("race", 10, 1000),
            stage("search", 20, 100),
            stage("train", 40, 10),
            StageWork(stage="evaluate", steps=0, operations=5, macs=6, kept_bytes=7),
        ),
        memory_bytes=9,
        file_bytes=0,
        resume_bytes=0,
        disk_bytes=0,
    )


def row(name, epoch, seconds=1.5):
    return {"stage": name, "epoch": epoch, "step": 4 * epoch, "seconds": seconds}


def test_epochs_and_races_are_counted_with_what_they_computed(work):
    watch = Stopwatch()
    watch.stepping()
    watch.event("raced", {"steps": 5, "seconds": 2.0})
    watch.event("chosen", {"method": "dense"})
    watch.epoch(row("search", 1))
    for epoch in (1, 2):
        watch.epoch(row("train", epoch))
    found = watch.measured(work)
    assert (found["steps"], found["seconds"]) == (5 + 4 + 8, 2.0 + 3 * 1.5)
    assert found["parts"] == [17, 5 * 1000 + 4 * 100 + 8 * 10, 34]
    assert found["stages"]["train"] == {"steps": 8, "seconds": 3.0}
    assert (found["graded"], found["least_memory_bytes"], found["family"]) == ([5, 6, 7], 9, "f")


def test_epochs_of_an_earlier_claim_are_left_out_and_the_one_that_was_begun(work):
    watch = Stopwatch()
    watch.resumed()
    for epoch in (1, 2):
        watch.epoch(row("train", epoch))  # told again, out of the file
    watch.stepping()
    watch.epoch(row("train", 3, seconds=99.0))  # begun before
    assert watch.measured(work)["steps"] == 0
    watch.epoch(row("train", 4))
    watch.epoch(row("train", 5))
    found = watch.measured(work)
    assert (found["steps"], found["seconds"]) == (8, 3.0)


def test_speed_counts_its_own_steps_as_the_library_would():
    small, large = speed.loops(torch.device("cpu"))
    assert 0 < small["seconds"] < large["seconds"]
    assert small["parts"][0] == large["parts"][0]
    assert small["parts"][1] * 100 < large["parts"][1]


def test_parts_of_a_speed_are_those_that_a_real_step_has():
    from npas.arch.footprint import Counting

    model = speed.network(torch, 16)
    batch = torch.empty(4, 16, 8, 8)
    with Counting() as counted:
        model(batch).mean()
    operations, macs, _ = speed.parts(4, 16, 8)
    assert macs == 3 * counted.macs
    assert operations == pytest.approx(3 * counted.operations, rel=0.1)
