"""Several networks, and one that joins them later, through the client and the service itself."""

import io

import npas
import pytest
import torch
from npas import data
from npas.spec import DatasetSpec
from npas_client.client import Client
from npas_client.errors import InfeasibleBudgetError, InvalidRequestError, NotFoundError
from npas_client.show import Row, View
from rich.console import Console

SMALL = {"name": "digits", "train_images": 100, "test_images": 50}
SPEC = {
    "networks": [{"name": name, "architecture": "resnet-8"} for name in ("first", "second")],
    "dataset": SMALL,
    "method": {"name": "block_mix", "search": False},
    "budget": {"fraction": 0.6},
    "training": {"epochs": 1, "batch_size": 32},
    "corrupted_images": 1,
}


@pytest.fixture(scope="module")
def client(service):
    with Client(service.url) as connected:
        yield connected


@pytest.fixture(scope="module")
def parent(client):
    return ended(client, SPEC)


def ended(client, spec):
    job = client.wait(client.submit(spec).id, timeout=600)
    assert job.state == "succeeded", job.reason
    return job


def test_networks_join_those_of_a_job(client, parent, tmp_path):
    start = {"checkpoint": parent.result.sha256, "join": True}
    late = [{"name": "late", "architecture": "wrn-10-1"}]
    asked = SPEC | {"networks": late, "start": start, "budget": {"fraction": 0.3}}
    plan, estimate = client.preview(asked), client.estimate(asked)
    with pytest.raises(InfeasibleBudgetError, match="raise it to at least") as caught:
        client.submit(asked | {"budget": 1})
    assert caught.value.minimum > 1
    with pytest.raises(InvalidRequestError, match="another name"):
        client.submit(asked | {"networks": SPEC["networks"][:1]})
    job = ended(client, asked)
    assert client.plan(job.id) == plan
    told = job.result.start.joined
    added = plan.ledger.total - parent.result.parameters
    assert (told.networks, told.is_frozen, told.parameters) == (("late",), True, added)
    assert told.file_bytes == job.result.file_bytes - parent.result.file_bytes > 0
    assert 0 <= estimate.file_bytes - job.result.file_bytes < 400  # of the longest ladder
    assert len(client.ensemble(job.id).subsets) == 7
    files = [client.download(j.id, "model.safetensors", tmp_path / j.id) for j in (parent, job)]
    before, after = map(npas.load, files)
    digits = data.load(DatasetSpec.model_validate(SMALL))
    images = digits.inputs()(digits.x_test)
    with torch.no_grad():
        old, new = before.members(images), after.members(images)
    assert list(new) == [*old, "late"]
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_allocation_is_told_before_and_after(client, parent):
    told = client.allocation(parent.id)
    assert {row.network for row in told.layers} == {"first", "second"}
    assert told.next_budget.plan.parameters > parent.result.parameters
    assert told.why_not_measured.startswith("the training was too short")
    job = client.submit(SPEC | {"training": {"epochs": 1000}})
    early = client.allocation(job.id, version=0)
    assert early.next_budget is None
    keys = [{(row.network, row.layer) for row in each.layers} for each in (early, told)]
    assert keys[0] == keys[1]
    client.cancel(job.id)
    with pytest.raises(NotFoundError, match="has no plan 7"):
        client.allocation(parent.id, version=7)


def test_ensemble_is_told_or_why_there_is_none(client, parent):
    told = client.ensemble(parent.id)
    subsets = [(*each.networks,) for each in told.subsets]
    assert sorted(subsets) == [("first",), ("first", "second"), ("second",)]
    assert told.robustness.images == 1
    job = client.submit(SPEC | {"training": {"epochs": 1000}})
    with pytest.raises(NotFoundError, match="look again when it ended"):
        client.ensemble(job.id)
    client.cancel(job.id)
    with pytest.raises(NotFoundError, match="no job"):
        client.ensemble("job_" + 32 * "0")


def test_job_of_several_networks_is_shown_as_any(client, parent):
    (*_, latest) = client.metrics(parent.id)
    for is_terminal in (False, True):
        out = io.StringIO()
        with View(Console(file=out, force_terminal=is_terminal, width=120)) as view:
            view.update([Row(title="two", job=parent, latest=latest)])
        assert "succeeded" in out.getvalue()
