"""Estimates before and with a job: beside the plan, whose bytes stay what they are."""

import json

import npas
import pytest
from npas_api.estimates import Estimator
from npas_store import measurements, workers
from npas_store.database import transaction
from npas_store.estimates import FORMAT

PROBE = {
    "format": FORMAT,
    "loops": [
        {"parts": [100, 10**7, 10**6], "seconds": 0.01},
        {"parts": [100, 3 * 10**9, 8 * 10**7], "seconds": 0.15},
    ],
    "whole_seconds": 3.0,
    "memory_bytes": 4 * 10**8,
}


@pytest.fixture
def measured(store, app):
    """A worker that has proven its device, and a service that has just looked."""
    assert store.is_dir()
    with transaction() as session:
        workers.beat(session, "w", memory_bytes=10**12, machine="m")
        measurements.record(session, "m", measurements.PROBE, PROBE)
    app.state.estimator = Estimator()
    yield
    app.state.estimator = Estimator()


@pytest.mark.usefixtures("measured")
def test_plan_is_the_same_text_with_an_estimate_beside_it(client, asked):
    alone = client.post("/v1/plans", json=asked).text
    beside = client.post("/v1/plans?estimate=true", json=asked)
    assert beside.status_code == 200, beside.text
    assert beside.text.startswith(f'{{"plan":{alone},"estimate":{{')
    told = beside.json()["estimate"]
    assert 0 < told["seconds_low"] < told["seconds"] < told["seconds_high"]
    assert told["based_on"] == {"machine": "m", "basis": "probe", "measurements": 0}
    assert told["disk_bytes"] > 3 * told["resume_bytes"] > told["file_bytes"] > 0
    assert told["memory_bytes"] >= 4 * 10**8
    assert "work" not in told
    assert npas.Plan.from_json(alone).to_json() == alone


@pytest.mark.usefixtures("measured")
def test_job_keeps_the_estimate_that_it_was_accepted_with(client, asked, app):
    app.state.estimator = Estimator()
    told = client.post("/v1/plans?estimate=true", json=asked).json()["estimate"]
    job = client.post("/v1/jobs", json=asked).json()
    assert job["estimate"] == told
    assert client.get(f"/v1/jobs/{job['id']}").json()["estimate"] == told
    assert client.get("/v1/jobs").json()["data"][0]["estimate"] == told


def test_estimate_of_a_service_without_workers_says_so(submit, app):
    app.state.estimator = Estimator()
    told = submit()["estimate"]
    assert (told["seconds"], told["based_on"]) == (None, None)
    assert "no worker" in told["reason"]
    assert told["file_bytes"] > 0


def test_estimate_without_a_dataset_is_refused(client, asked):
    request = {name: value for name, value in asked.items() if name != "dataset"}
    answer = client.post("/v1/plans?estimate=true", json=request)
    assert answer.status_code == 422
    (blame,) = answer.json()["errors"]
    assert (blame["pointer"], blame["code"]) == ("/dataset", "missing")
    assert client.post("/v1/plans", json=request).status_code == 200


def test_estimate_is_a_word_that_is_checked(client, asked):
    for query in ("estimate=perhaps", "estimates=true"):
        assert client.post(f"/v1/plans?{query}", json=asked).status_code == 422


def test_estimate_of_a_budget_that_is_too_small_is_refused_as_the_plan_is(client, asked):
    request = json.dumps(asked | {"budget": 1})
    headers = {"Content-Type": "application/json"}
    alone, beside = (
        client.post(url, content=request, headers=headers)
        for url in ("/v1/plans", "/v1/plans?estimate=true")
    )
    assert (alone.status_code, beside.status_code) == (422, 422)
    assert beside.json()["minimum"] == alone.json()["minimum"]


def test_measurements_are_read_again_after_a_while(monkeypatch, submit, app):
    from npas_api import estimates

    app.state.estimator = Estimator()
    assert submit()["estimate"]["seconds"] is None
    with transaction() as session:
        workers.beat(session, "w", memory_bytes=10**12, machine="m")
        measurements.record(session, "m", measurements.PROBE, PROBE)
    assert submit()["estimate"]["seconds"] is None
    monkeypatch.setattr(estimates, "FRESH_SECONDS", 0.0)
    assert submit()["estimate"]["seconds"] > 0
