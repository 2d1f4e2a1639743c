"""What a request can name, and how the service is."""

import re

import numpy as np
import pytest
from npas_store import workers
from npas_store.database import transaction
from npas_store.settings import settings


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


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write NAME.npz with so many classes into the service's data folder."""

    def write(name, classes):
        images, labels = np.zeros((40, 12, 12, 3), np.uint8), np.arange(40) % classes
        both = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
        np.savez(tmp_path / f"{name}.npz", **both)

    with monkeypatch.context() as patch:
        patch.setenv("NPAS_DATA_FOLDER", str(tmp_path))
        settings.cache_clear()
        yield write
    settings.cache_clear()


@pytest.mark.usefixtures("store")
def test_a_file_in_the_services_data_folder_is_a_dataset(client, asked, mine):
    request = {**asked, "dataset": "npz:mine"}
    mine("mine", 5)
    listed = names(client, "datasets", "name")
    plan = client.post("/v1/plans", json=request)
    job = client.post("/v1/jobs", json=request)
    assert "npz:mine" in listed
    assert plan.json()["networks"][0]["architecture"]["num_classes"] == 5
    assert job.status_code == 202


def test_a_plan_is_for_the_dataset_as_it_is_now(client, asked, mine):
    request = {**asked, "dataset": "npz:mine"}
    for classes in (5, 7):
        mine("mine", classes)
        plan = client.post("/v1/plans", json=request)
        assert plan.json()["networks"][0]["architecture"]["num_classes"] == classes


@pytest.mark.usefixtures("store")
def test_a_damaged_file_is_refused_and_other_datasets_are_not(client, asked, mine, tmp_path):
    mine("mine", 5)
    whole = (tmp_path / "mine.npz").read_bytes()
    of_a_later_zip = re.sub(rb"(PK\x01\x02..)..", b"\\1\xfa\0", whole, flags=re.DOTALL)
    (tmp_path / "odd.npz").write_bytes(of_a_later_zip)
    refused = client.post("/v1/jobs", json={**asked, "dataset": "npz:odd"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/dataset"
    assert client.post("/v1/jobs", json={**asked, "dataset": "npz:mine"}).status_code == 202
    assert {"npz:mine", "npz:odd"} <= names(client, "datasets", "name")
