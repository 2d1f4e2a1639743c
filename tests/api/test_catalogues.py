"""What a request can name, and how the service is."""

import pytest
from npas_store import workers
from npas_store.database import transaction


def names(client, kind, key):
    return {row[key] for row in client.get(f"/v1/{kind}").json()["data"]}


def test_catalogues_list_what_there_is(client):
    assert {"wrn", "resnet", "torchvision"} <= names(client, "architectures", "family")
    assert {"dense", "soft_sharing", "superweights"} <= names(client, "methods", "method")
    assert {"digits", "cifar10"} <= names(client, "datasets", "name")


@pytest.mark.parametrize("kind", ["architectures", "methods"])
def test_catalogues_hold_the_schema_of_the_options(client, kind):
    for row in client.get(f"/v1/{kind}").json()["data"]:
        assert row["options"]["type"] == "object"
        assert row["title"]


def test_every_example_can_be_planned(client):
    for row in client.get("/v1/architectures").json()["data"]:
        request = {"architecture": row["example"], "budget": {"fraction": 1}, "method": "dense"}
        assert client.post("/v1/plans", json=request).status_code == 200


def test_datasets_say_whether_they_are_here(client):
    rows = {row["name"]: row for row in client.get("/v1/datasets").json()["data"]}
    assert rows["digits"]["available"]
    assert rows["cifar10"]["how"]


@pytest.mark.usefixtures("store")
def test_ready_names_the_workers_that_report(client):
    assert client.get("/readyz").json()["workers"] == []
    with transaction() as session:
        workers.beat(session, "gpu0@here")
    (worker,) = client.get("/readyz").json()["workers"]
    assert worker["name"] == "gpu0@here"
