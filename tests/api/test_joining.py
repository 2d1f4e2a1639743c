"""Jobs whose networks join those of a file: planned, estimated, refused, and made others of."""

import pytest
from npas.plans import Plan
from npas.spec import JobSpec
from npas_api.plans import PlanBody
from npas_store import blobs, garbage

OLD = [{"name": name, "architecture": {"name": "resnet-8"}} for name in ("first", "second")]
NEW = [{"name": "late", "architecture": {"name": "wrn-10-1"}}]
SMALL = {"name": "digits", "train_images": 100, "test_images": 50}


@pytest.fixture
def request_of(submit, deliver_network):
    """Deliver a file of two networks; make requests for one that joins them."""
    parent = submit(architecture=None, networks=OLD, dataset=SMALL)
    _, sha256 = deliver_network()

    def make(*, frozen=True, **changes):
        start = {"checkpoint": sha256, "join": True, "frozen": frozen}
        asked = {"networks": NEW, "budget": {"fraction": 0.3}, "dataset": SMALL, "start": start}
        asked |= {"training": {"epochs": 2, "batch_size": 32}}
        return asked | changes

    make.parent, make.sha256 = parent, sha256
    return make


def post(client, request):
    answer = client.post("/v1/jobs", json=request)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_job_is_planned_with_the_networks_of_the_file(client, request_of):
    job = post(client, request_of())
    assert job["architecture"] == "resnet-8 + resnet-8 + wrn-10-1"
    assert job["method"] == request_of.parent["method"]
    document = client.get(job["urls"]["plan"]).text
    plan = Plan.from_json(document)
    assert [network.name for network in plan.networks] == ["first", "second", "late"]
    added = plan.ledger.total - request_of.parent["parameters"]
    assert 0 < added <= 0.3 * (job["dense_parameters"] - request_of.parent["dense_parameters"])
    before = client.post("/v1/plans", json=request_of())
    assert (before.status_code, before.text) == (200, document)


def test_estimate_is_of_what_is_trained(client, request_of):
    asked = request_of()
    told = client.post("/v1/plans", params={"estimate": True}, json=asked).json()["estimate"]
    assert told == post(client, asked)["estimate"]
    alone = {name: value for name, value in asked.items() if name != "start"}
    alone |= {"method": "dense", "budget": {"fraction": 1}, "corrupted_images": 0}
    told_alone = client.post("/v1/plans?estimate=true", json=alone).json()["estimate"]
    all_learn = post(client, request_of(frozen=False))["estimate"]
    assert told["steps"] == told_alone["steps"] == all_learn["steps"] > 0
    assert told_alone["macs"] < told["macs"] < all_learn["macs"]
    assert told["resume_bytes"] < all_learn["resume_bytes"]
    assert told["file_bytes"] == all_learn["file_bytes"]
    assert told["memory_bytes"] < all_learn["memory_bytes"]


@pytest.mark.parametrize(
    ("changes", "pointer", "told"),
    [
        ({"networks": [OLD[0], *NEW]}, "/networks/0/name", "give the new one another name"),
        ({"budget": 10}, "/budget", "raise it to at least"),
        ({"dataset": "fashion-mnist"}, "/start/checkpoint", "of the same dataset"),
        (
            {"training": {"ensemble": {"networks_trained": 1}}},
            "/training/ensemble/networks_trained",
            "leave it out",
        ),
        (
            {"start": {"checkpoint": "0" * 64, "join": True}},
            "/start/checkpoint",
            "the artifacts of a job tell theirs",
        ),
        (
            {"start": {"checkpoint": "0" * 64, "frozen": False}},
            "/start",
            "give join, or leave frozen out",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_join_is_refused_with_its_place(client, request_of, changes, pointer, told):
    for path in ("/v1/jobs", "/v1/plans"):
        answer = client.post(path, json=request_of(**changes))
        problem = answer.json()
        assert answer.status_code == 422, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        (blame,) = problem["errors"]
        assert blame["pointer"] == pointer
        assert told in blame["message"]


def test_lone_architecture_is_called_main_and_there_may_be_one_in_the_file(
    client, submit, deliver_network, asked
):
    submit(dataset=SMALL)
    _, sha256 = deliver_network()
    request = asked | {"dataset": SMALL, "start": {"checkpoint": sha256, "join": True}}
    answer = client.post("/v1/jobs", json=request)
    (blame,) = answer.json()["errors"]
    assert answer.status_code == 422
    assert blame["pointer"] == "/architecture"
    assert "'main' in the file already" in blame["message"]
    assert 'as networks [{"name": ...' in blame["message"]


def test_networks_that_all_learn_are_counted_together(client, request_of):
    """Two of them may take part in a step, and not four: there are three."""
    training = {"epochs": 2, "ensemble": {"networks_trained": 2}}
    post(client, request_of(frozen=False, training=training))
    training = {"epochs": 2, "ensemble": {"networks_trained": 4}}
    answer = client.post("/v1/jobs", json=request_of(frozen=False, training=training))
    assert answer.status_code == 422
    assert "there are 3 networks" in answer.json()["detail"]


def test_plan_wants_the_dataset_of_networks_that_join(client, request_of):
    request = {name: value for name, value in request_of().items() if name != "dataset"}
    answer = client.post("/v1/plans", json=request)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/dataset"]


def test_sweep_takes_no_start(client, request_of):
    asked = {"networks": [NEW], "budgets": [{"fraction": 0.5}], "dataset": SMALL}
    answer = client.post("/v1/sweeps", json=asked | {"start": request_of()["start"]})
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/start"]


def test_whole_job_can_be_asked_for_its_plan(client, asked):
    """What a plan does not need is checked and left."""
    assert set(PlanBody.model_fields) == set(JobSpec.model_fields)
    rest = {"time_limit": 60, "corrupted_images": 20}
    alone, whole = (client.post("/v1/plans", json=asked | more) for more in ({}, rest))
    assert (whole.status_code, whole.text) == (200, alone.text)
    assert client.post("/v1/plans", json=asked | {"time_limit": 0}).status_code == 422


def test_networks_that_were_to_stay_are_not_trained_on(client, request_of, deliver_network):
    job = post(client, request_of())
    _, sha256 = deliver_network()
    answer = client.post(job["urls"]["continue"], json={"epochs": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "job_state_conflict")
    assert "clone it with more epochs" in answer.json()["detail"]
    clone = client.post(job["urls"]["clone"], json={"training": {"epochs": 5}})
    assert clone.status_code == 202, clone.text
    assert clone.json()["spec"]["start"] == job["spec"]["start"]
    plans = [client.get(each["urls"]["plan"]).text for each in (job, clone.json())]
    assert plans[0] == plans[1]
    # what the refusal advises to those who want all of them to learn
    onward = request_of(networks=[*OLD, *NEW], start={"checkpoint": sha256})
    assert post(client, onward)["architecture"] == job["architecture"]


def test_networks_that_all_learned_are_all_trained_on(client, request_of, deliver_network):
    job = post(client, request_of(frozen=False, method="uniform"))
    _, sha256 = deliver_network()
    answer = client.post(job["urls"]["continue"], json={"epochs": 1})
    assert answer.status_code == 202, answer.text
    onward = answer.json()
    start = onward["spec"]["start"]
    assert (start["checkpoint"], start["join"]) == (sha256, False)
    assert [each["name"] for each in onward["spec"]["networks"]] == ["first", "second", "late"]
    assert onward["method"] == request_of.parent["method"]
    plans = [client.get(each["urls"]["plan"]).text for each in (job, onward)]
    assert plans[0] == plans[1]


def test_retry_of_networks_that_join_is_the_same_job(client, request_of):
    job = post(client, request_of())
    assert client.post(job["urls"]["cancel"]).json()["state"] == "cancelled"
    again = client.post(job["urls"]["retry"])
    assert again.status_code == 202, again.text
    assert again.json()["spec"] == job["spec"]
    plans = [client.get(each["urls"]["plan"]).text for each in (job, again.json())]
    assert plans[0] == plans[1]


def test_file_is_kept_while_a_job_waits_to_join_it(client, request_of):
    job = post(client, request_of())
    path = blobs.path(request_of.sha256)
    assert client.delete(request_of.parent["urls"]["self"]).json()["freed"]["files"] == 0
    assert garbage.collect([request_of.sha256]).files == 0
    assert path.is_file()
    client.post(job["urls"]["cancel"])
    assert client.delete(job["urls"]["self"]).status_code == 200
    assert not path.exists()
