"""The client against the service itself: every call that no other test makes."""

import pytest
from npas_client.client import Client
from npas_client.errors import ConflictError, InfeasibleBudgetError, NotFoundError

SPEC = {
    "architecture": "resnet-8",
    "dataset": "digits",
    "method": "dense",
    "budget": {"fraction": 1},
    "training": {"epochs": 1000},
    "labels": {"test": "client"},
}


@pytest.fixture
def client(service):
    with Client(service.url) as connected:
        yield connected


def test_job_is_previewed_submitted_found_and_cancelled(client):
    plan = client.preview(SPEC)
    job = client.submit(SPEC)
    assert client.plan(job.id) == plan
    assert job.id in [found.id for found in client.jobs(**{"label[test]": "client"})]
    assert job.priority == 0
    changed = client.update(job.id, labels={"test": None, "stage": "best"}, priority=5, revision=0)
    assert (changed.labels, changed.priority, changed.revision) == ({"stage": "best"}, 5, 1)
    with pytest.raises(ConflictError, match="has none; wait for its end"):
        client.continue_(job.id, epochs=1)
    with pytest.raises(ConflictError, match="is at version"):
        client.update(job.id, priority=6, revision=0)
    client.cancel(job.id)
    ended = client.wait(job.id, timeout=600)
    assert (ended.state, ended.reason["code"]) == ("cancelled", "user_cancelled")
    events = client.events(job.id)
    assert [event.seq for event in events] == [*range(1, len(events) + 1)]
    again = client.retry(job.id)
    assert (again.parent_id, again.relation) == (job.id, "retry")
    key = str(job.id)
    copy = client.clone(job.id, {"seed": 1, "labels": None}, idempotency_key=key)
    assert client.clone(job.id, {"seed": 1, "labels": None}, idempotency_key=key).id == copy.id
    assert (copy.spec.seed, copy.labels, copy.relation) == (1, {}, "clone")
    for made in (again, copy):
        client.cancel(made.id)
    rows, names = client.metrics(job.id), {file.name for file in client.artifacts(job.id)}
    assert (ended.result is None) == (names == set())
    assert all(row["stage"] == "train" for row in rows)


def test_budget_that_is_too_small_is_an_error_with_the_minimum(client):
    with pytest.raises(InfeasibleBudgetError, match="raise it to at least") as caught:
        client.preview(SPEC | {"budget": 1})
    error = caught.value
    assert (error.status, error.code) == (422, "infeasible_budget")
    assert error.minimum > min(error.alternatives.values()) > 1


def test_job_that_is_not_there_is_an_error(client):
    with pytest.raises(NotFoundError, match="no job"):
        client.get("job_" + 32 * "0")
