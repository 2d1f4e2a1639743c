"""Sweeps from Python, against the service itself: planned, trained, compared, downloaded."""

import csv
import io
import json

import npas
import pytest
from npas.spec.sweep import SweepSpec
from npas_client import errors, sweeps
from npas_client.client import Client

SPEC = {
    "architectures": ["resnet-8"],
    "budgets": [{"fraction": 0.5}, 20_000],
    "methods": ["ssn"],
    "dataset": {"name": "digits", "train_images": 200, "test_images": 100},
    "training": {"epochs": 1},
    "labels": {"test": "sweep"},
}
RUNNING = {
    **{"id": "sweep_1", "state": "running", "is_terminal": False, "progress": 0.0},
    **{"counts": {"running": 1}, "num_jobs": 1},
}
ENDED = RUNNING | {"state": "succeeded", "is_terminal": True, "progress": 1.0}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(sweeps, "POLL_SECONDS", 0.2)
    monkeypatch.setattr("npas_client.client.RETRY_SECONDS", 0.0)


@pytest.fixture
def client(service):
    with Client(service.url) as connected:
        yield connected


def test_a_small_sweep_from_end_to_end(client, tmp_path):
    made = client.sweep(SPEC, idempotency_key="small")
    assert client.sweep(SPEC, idempotency_key="small").id == made.id
    assert (made.num_jobs, made.spec) == (3, SweepSpec.model_validate(SPEC))
    assert made.id in [found.id for found in client.sweeps(**{"label[test]": "sweep"})]
    seen = [*client.watch_sweep(made.id)]
    assert [found.is_terminal for found in seen] == [False] * (len(seen) - 1) + [True]
    assert (seen[-1].state, seen[-1].counts["succeeded"]) == ("succeeded", 3)
    frontier = client.frontier(made.id, within=100)
    assert frontier.is_complete
    assert [point.is_baseline for point in frontier.points] == [True, False, False]
    jobs = {job.id: job for job in client.jobs(sweep=made.id)}
    for point in frontier.points:
        (seed,) = point.seeds
        report = jobs[seed["job_id"]].result
        assert (report.parameters, report.accuracy) == (point.parameters, point.accuracy.mean)
    (smallest,) = client.smallest_within(made.id, 100)
    assert smallest == frontier.smallest[0]
    assert smallest.parameters == min(point.parameters for point in frontier.points)
    path = client.download(smallest.job_id, "model.safetensors", tmp_path / "model.safetensors")
    assert npas.load(path).plan.ledger.total == smallest.parameters <= 20_000
    rows = [*csv.DictReader(io.StringIO(client.results_csv(made.id), newline=""))]
    assert {row["job_id"]: float(row["accuracy"]) for row in rows} == {
        job.id: job.result.accuracy for job in jobs.values()
    }
    assert json.loads(rows[0]["labels"]) == {"test": "sweep"}


def test_sweep_is_cancelled_as_one(client):
    made = client.sweep(SPEC | {"training": {"epochs": 1000}})
    assert client.cancel_sweep(made.id).state in ("cancelling", "cancelled")
    *_, last = client.watch_sweep(made.id)
    assert (last.state, last.counts["cancelled"]) == ("cancelled", 3)
    assert client.delete_sweep(made.id).num_jobs == 3
    with pytest.raises(errors.NotFoundError, match="no sweep"):
        client.sweep_status(made.id)


def test_budgets_below_the_minimum_are_an_error_that_names_them(client):
    with pytest.raises(errors.InfeasiblePointsError, match="1 of 3 budgets") as caught:
        client.sweep(SPEC | {"budgets": [20_000, 1]})
    (point,) = caught.value.points
    assert (point["budget"], point["minimum"] > 1) == (1, True)


def test_watching_outlasts_a_service_that_is_away(scripted, reply):
    def answer(value):
        return reply(body=json.dumps(value).encode())

    busy = reply(status=503, body=b"{}")
    scripted.replies["/v1/sweeps/sweep_1"] = [answer(RUNNING), *[busy] * 7, answer(ENDED)]
    with Client(scripted.url) as client:
        assert [found.state for found in client.watch_sweep("sweep_1")] == ["running", "succeeded"]
    scripted.replies["/v1/sweeps/sweep_1"] = [busy]
    with Client(scripted.url, patience=0) as client, pytest.raises(errors.UnavailableError):
        [*client.watch_sweep("sweep_1")]
