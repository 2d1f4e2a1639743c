"""A job that searches the size of its network, by the service itself."""

import npas
import pytest
from npas_client.client import Client
from npas_client.errors import InvalidRequestError

SPEC = {
    "architecture": "resnet-8",
    "dataset": {"name": "digits", "train_images": 150, "test_images": 50},
    "method": "uniform",
    "budget": {"fraction": 0.5},
    "training": {"epochs": 2, "batch_size": 32},
    "search": {"scale": True},
}


@pytest.fixture
def client(service):
    with Client(service.url) as connected:
        yield connected


def test_job_races_sizes_and_delivers_the_one_that_won(client, tmp_path):
    offers = client.offered(SPEC)
    own = next(offer for offer in offers if offer.network == "resnet-8")
    limits = {"macs": own.macs - 1}  # whoever wins is of another size
    job = client.wait(client.submit(SPEC | {"limits": limits}).id, timeout=600)
    assert job.state == "succeeded", job.reason
    race = job.result.race
    known = {offer.network: offer for offer in client.offered(SPEC | {"limits": limits})}
    assert [each.network for each in race.candidates] == list(known)
    won = known[race.network]
    assert won.network != "resnet-8"
    assert job.result.dense_parameters == own.dense_parameters
    assert job.result.budget_parameters == own.dense_parameters // 2
    client.download(job.id, "model.safetensors", tmp_path / "model.safetensors")
    net = npas.load(tmp_path / "model.safetensors")
    assert net.plan == client.plan(job.id)
    assert net.plan.networks[0].architecture.told == won.network
    assert npas.profile(net.plan).macs == won.macs < own.macs
    assert net.plan.ledger.total == job.result.parameters <= job.result.budget_parameters
    more = client.wait(client.continue_(job.id, epochs=1).id, timeout=600)
    assert more.state == "succeeded", more.reason
    assert client.plan(more.id) == net.plan
    assert more.result.race is None
    assert more.result.start.is_continued


def test_limits_that_nothing_keeps_are_refused_with_the_least(client):
    with pytest.raises(InvalidRequestError, match="the fewest macs are"):
        client.submit(SPEC | {"limits": {"macs": 1}})
