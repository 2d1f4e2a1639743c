"""Estimates of the service itself: they are learned from jobs that ran, and judged by the next."""

import itertools

import pytest
from npas_client.client import Client

SPEC = {
    "architecture": "resnet-8",
    "dataset": {"name": "digits", "train_images": 300, "test_images": 50},
    "method": "dense",
    "budget": {"fraction": 1},
    "training": {"epochs": 2, "batch_size": 32},
    "labels": {"test": "estimates"},
}


@pytest.fixture
def client(service):
    with Client(service.url) as connected:
        yield connected


def learned(client, count):
    """Return the estimate once it is based on so many measurements: it is read every 5 s."""
    for _ in itertools.count():
        told = client.estimate(SPEC)
        if told.based_on and told.based_on["measurements"] >= count:
            return told
        client.wait(client.submit(SPEC | {"training": {"epochs": 1}}).id, timeout=600)
    raise AssertionError("unreachable")


def test_estimate_is_learned_from_three_jobs_and_its_error_is_recorded(client):
    for _ in range(3):
        job = client.wait(client.submit(SPEC).id, timeout=600)
        assert job.state == "succeeded", job.reason
    told = learned(client, 3)
    assert told.based_on["basis"] == "kind"
    assert 0 < told.seconds_low < told.seconds < told.seconds_high
    job = client.wait(client.submit(SPEC).id, timeout=600)
    assert job.estimate.based_on["measurements"] >= 3
    off = job.result.estimate_error
    assert 0.05 < off.seconds_ratio < 20
    assert off.seconds == pytest.approx(off.seconds_ratio * job.estimate.seconds, rel=0.01)
    assert off.is_in_interval == (
        job.estimate.seconds_low <= off.seconds <= job.estimate.seconds_high
    )
    assert 0.5 < off.memory_ratio < 2
    assert abs(off.file_bytes_difference) <= 64
    assert job.result.file_bytes == job.estimate.file_bytes + off.file_bytes_difference
