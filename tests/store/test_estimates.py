"""What a job is thought to take, from what was measured; and how wrong that was."""

import pytest
from npas.jobs.workload import StageWork, Workload
from npas_store import measurements
from npas_store.estimates import FORMAT, Knowledge, Machine, error
from npas_store.tables import Measurement

PROBE = {
    "format": FORMAT,
    "loops": [
        {"parts": [100, 10**7, 10**6], "seconds": 0.01},
        {"parts": [100, 3 * 10**9, 8 * 10**7], "seconds": 0.15},
    ],
    "whole_seconds": 3.0,
    "memory_bytes": 4 * 10**8,
}


def work(steps=100, **changes):
    stage = {"operations": 300 * steps, "macs": 10**8 * steps, "kept_bytes": 10**6 * steps}
    graded = {"operations": 100, "macs": 10**6, "kept_bytes": 10**5}
    return Workload(
        **{
            "kind": "resnet-8, dense",
            "family": "resnet",
            "stages": (
                StageWork(stage="train", steps=steps, **stage),
                StageWork(stage="evaluate", steps=0, **graded),
            ),
            "memory_bytes": 10**7,
            "file_bytes": 1000,
            "resume_bytes": 3000,
            "disk_bytes": 10**7,
        }
        | changes
    )


def row(kind="resnet-8, dense", **facts):
    return Measurement(machine="m", kind=kind, facts={"format": FORMAT, **facts})


def trained(steps=100, seconds=2.0, **facts):
    return row(
        family="resnet",
        steps=steps,
        seconds=seconds,
        parts=[300 * steps, 10**8 * steps, 10**6 * steps],
        graded=[100, 10**6, 10**5],
        whole_seconds=seconds + 4.0,
        memory_bytes=5 * 10**8,
        least_memory_bytes=10**7,
        **facts,
    )


def estimate(*rows, of=None):
    return Knowledge([Machine("m", rows)]).estimate(of or work())


def test_estimate_without_any_measurement_says_why_it_is_not_known():
    told = Knowledge([]).estimate(work())
    assert (told["seconds"], told["based_on"]) == (None, None)
    assert "start one" in told["reason"]
    assert (told["memory_bytes"], told["file_bytes"]) == (10**7, 1000)


def test_estimate_from_a_probe_is_wide():
    told = estimate(row(measurements.PROBE, **PROBE))
    assert told["based_on"] == {"machine": "m", "basis": "probe", "measurements": 0}
    assert told["reason"] is None
    assert told["seconds_low"] * 4 < told["seconds_high"]
    assert told["seconds_low"] < told["seconds"] < told["seconds_high"]
    assert told["memory_bytes"] >= 4 * 10**8


def test_estimate_of_what_was_measured_is_what_was_measured():
    told = estimate(*[trained(seconds=s) for s in (1.9, 2.0, 2.1)], row("probe", **PROBE))
    assert told["based_on"] == {"machine": "m", "basis": "kind", "measurements": 3}
    assert told["seconds"] == pytest.approx(6.0, rel=0.1)
    assert told["seconds_low"] < 6.0 < told["seconds_high"] < 8.5
    assert told["memory_bytes"] == pytest.approx(5 * 10**8, rel=0.05)
    longer = estimate(*[trained() for _ in range(3)], of=work(steps=1000))
    assert longer["seconds"] == pytest.approx(24.0, rel=0.1)


def test_estimate_goes_by_the_slowest_machine_and_holds_all():
    fast, slow = [trained(seconds=1.0)], [trained(seconds=9.0)]
    told = Knowledge([Machine("fast", fast), Machine("slow", slow)]).estimate(work())
    alone = [Knowledge([Machine("m", rows)]).estimate(work()) for rows in (fast, slow)]
    assert told["based_on"]["machine"] == "slow"
    assert told["seconds_low"] == alone[0]["seconds_low"]
    assert told["seconds_high"] == alone[1]["seconds_high"]
    assert alone[0]["seconds"] < told["seconds"] < alone[1]["seconds"]


def test_short_trainings_and_measurements_of_other_releases_are_left_out():
    told = estimate(
        trained(steps=3, seconds=900.0), row("probe", **PROBE | {"format": FORMAT + 1})
    )
    assert told["seconds"] is None


def test_error_says_how_wrong_an_estimate_was():
    told = estimate(trained(), trained())
    off = error(told, seconds=2 * told["seconds"], memory_bytes=10**9, file_bytes=1003)
    assert off["seconds_ratio"] == pytest.approx(2, abs=0.001)
    assert off["is_in_interval"] == (2 * told["seconds"] <= told["seconds_high"])
    assert off["memory_ratio"] == pytest.approx(2, rel=0.05)
    assert off["file_bytes_difference"] == 3


def test_error_of_what_is_not_known_is_none():
    unknown = Knowledge([]).estimate(work())
    assert error(None, seconds=1.0, memory_bytes=1, file_bytes=1) is None
    off = error(unknown, seconds=1.0, memory_bytes=None, file_bytes=None)
    assert (off["seconds"], off["seconds_ratio"], off["is_in_interval"]) == (1.0, None, None)
    assert (off["memory_ratio"], off["file_bytes_difference"]) == (None, None)
    part = error(estimate(trained()), seconds=None, memory_bytes=1, file_bytes=None)
    assert (part["seconds_ratio"], part["is_in_interval"]) == (None, None)


def test_workload_goes_through_json_whatever_a_later_release_adds():
    told = work().as_json()
    told["stages"][0]["new"] = told["new"] = 1
    assert Workload.of(told) == work()
    assert (work().steps, work().macs) == (100, 10**10 + 10**6)
