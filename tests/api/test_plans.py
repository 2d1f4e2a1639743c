"""Plans: dry runs, and the plans of jobs."""

import json

import pytest
from npas.delivery.allocation_report import AllocationReport, allocation_of
from npas.plans import Plan
from npas.spec import PlanRequest
from npas_store import plans
from npas_store.database import transaction


def test_plan_is_the_librarys_own(client, asked):
    import npas

    request = {key: asked[key] for key in ("architecture", "budget", "method", "dataset")}
    answer = client.post("/v1/plans", json=request)
    assert answer.status_code == 200
    assert answer.text == npas.plan(PlanRequest.model_validate(request)).to_json()
    assert Plan.from_json(answer.text).ledger.unused >= 0


def test_plan_takes_a_whole_job_and_makes_none(store, client, asked):
    assert store.is_dir()
    assert client.post("/v1/plans", json=asked).status_code == 200
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"training": {"epochs": 0}}, "/training/epochs"),
        ({"seed": -1}, "/seed"),
        ({"labels": {"a b": ""}}, "/labels"),
        ({"labels": {"a": "x" * 513}}, "/labels/a"),
    ],
)
def test_plan_checks_what_only_a_job_needs(client, asked, changes, pointer):
    for path in ("/v1/plans", "/v1/jobs"):
        answer = client.post(path, json={**asked, **changes})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_plan_needs_no_dataset(client):
    request = {"architecture": "wrn-16-2", "budget": {"fraction": 0.5}}
    answer = client.post("/v1/plans", json=request)
    plan = Plan.from_json(answer.text)
    assert plan.ledger.total <= plan.ledger.budget == plan.ledger.dense // 2


def test_plan_leaves_unshared_layers_alone(client):
    request = {"architecture": "wrn-16-2", "budget": {"fraction": 0.8}, "unshared": ["stem"]}
    plan = Plan.from_json(client.post("/v1/plans", json=request).text)
    assert "conv.weight" in [layer.layer for layer in plan.private]
    answer = client.post("/v1/plans", json={**request, "unshared": ["stem", "stme"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/unshared/1")


def test_plan_of_a_method_that_a_race_will_choose_has_the_lowest_minimum(client):
    request = {"architecture": "wrn-16-2", "budget": {"fraction": 0.5}, "method": "auto"}
    plan = Plan.from_json(client.post("/v1/plans", json=request).text)
    assert plan.method == "auto"
    low = {**request, "budget": {"parameters": plan.minimum - 1}}
    answer = client.post("/v1/plans", json=low)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/budget")
    assert f"minimum of auto, {plan.minimum:,}" in answer.text


HEAD = [{"kind": "pool", "function": "global"}, {"kind": "linear"}]


@pytest.mark.parametrize(
    ("layers", "pointer"),
    [
        ([{"kind": "conv"}, *HEAD], "/0/channels"),
        ([{"kind": "conv", "channels": 0}, *HEAD], "/0/channels"),
        ([{"kind": "konv", "channels": 8}, *HEAD], "/0"),
        (
            [{"kind": "repeat", "times": 2, "body": [{"kind": "norm", "epsilon": 1}]}],
            "/0/body/0/epsilon",
        ),
        ([{"kind": "conv", "channels": 8, "groups": 5}, *HEAD], "/0"),
        (
            [{"kind": "repeat", "times": 1, "body": [*HEAD, {"kind": "conv", "channels": 8}]}],
            "/0/body/2",
        ),
    ],
)
def test_declared_layer_that_is_wrong_is_pointed_at(client, layers, pointer):
    architecture = {"name": "declared", "layers": layers}
    request = {"architecture": architecture, "budget": {"fraction": 0.5}}
    answer = client.post("/v1/plans", json=request)
    found = [error["pointer"] for error in answer.json()["errors"]]
    assert (answer.status_code, found) == (422, [f"/architecture/layers{pointer}"])


def test_declared_network_is_planned(client):
    layers = [{"kind": "conv", "channels": 8}, {"kind": "norm"}, *HEAD]
    request = {"architecture": {"name": "declared", "layers": layers}, "budget": 10_000}
    answer = client.post("/v1/plans", json={**request, "dataset": "digits", "method": "dense"})
    plan = Plan.from_json(answer.text)
    assert plan.ledger.total == 8 * 9 + 2 * 8 + 8 * 10 + 10
    assert [layer.layer for layer in plan.private] == ["0.weight", "3.weight"]


def test_plan_does_not_need_the_data_itself(client, asked):
    assert client.post("/v1/plans", json={**asked, "dataset": "cifar10"}).status_code == 200


def test_plan_of_a_job_is_the_one_it_was_accepted_with(submit, client, asked):
    job_id = submit()["id"]
    answer = client.get(f"/v1/jobs/{job_id}/plan")
    assert answer.headers["plan-version"] == "0"
    assert answer.text == client.post("/v1/plans", json=asked).text


def test_plan_of_a_job_is_the_newest(submit, client):
    job_id = submit()["id"]
    with transaction() as session:
        plans.record(session, job_id, 1, '{"newer": 1}')
    newest, first = (client.get(f"/v1/jobs/{job_id}/plan{query}") for query in ("", "?version=0"))
    assert (newest.headers["plan-version"], newest.json()) == ("1", {"newer": 1})
    assert first.headers["plan-version"] == "0"


@pytest.mark.parametrize(
    ("query", "status"),
    [("version=7", 404), ("version=-1", 422), ("version=x", 422), ("v=1", 422)],
)
def test_plan_that_is_not_there(submit, client, query, status):
    job_id = submit()["id"]
    answer = client.get(f"/v1/jobs/{job_id}/plan?{query}")
    assert answer.status_code == status
    assert json.loads(answer.text)["code"] in ("plan_not_found", "invalid_request")


def test_plan_for_bytes_says_what_the_file_holds(client):
    request = {"architecture": "resnet-8", "budget": {"bytes": 9000}, "method": "superweights"}
    plan = Plan.from_json(client.post("/v1/plans", json=request).text)
    assert plan.file is not None
    assert (plan.file.bytes, plan.ledger.total) < (9001, plan.ledger.dense)
    board = client.post("/v1/plans", json={**request, "budget": {"device": "bluepill"}})
    assert Plan.from_json(board.text).file.bytes == 32_768


def test_too_few_bytes_are_refused_with_the_least(client):
    request = {"architecture": "resnet-8", "budget": {"bytes": 900}, "method": "superweights"}
    answer = client.post("/v1/plans", json=request)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "infeasible_budget")
    assert (problem["unit"], problem["budget"]) == ("bytes", 900)
    assert problem["errors"][0]["pointer"] == "/budget"
    enough = {**request, "budget": {"bytes": problem["minimum"]}}
    assert client.post("/v1/plans", json=enough).status_code == 200


@pytest.mark.parametrize(
    "budget", [{"bytes": 0}, {"bytes": "9"}, {"bytes": 10**12}, {"device": "toaster"}, {}]
)
def test_budgets_that_are_none_are_refused(client, budget):
    answer = client.post("/v1/plans", json={"architecture": "resnet-8", "budget": budget})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/budget")


def explained(client, job_id, version=None):
    query = {"explain": True} | ({} if version is None else {"version": version})
    answer = client.get(f"/v1/jobs/{job_id}/plan", params=query)
    assert answer.status_code == 200
    return answer


def test_plan_of_a_queued_job_is_explained_at_once(submit, client):
    job_id = submit(budget={"fraction": 0.3}, method="uniform")["id"]
    plain = client.get(f"/v1/jobs/{job_id}/plan")
    answer = explained(client, job_id)
    assert answer.headers["plan-version"] == "0"
    plan = Plan.from_json(json.dumps(answer.json()["plan"]))
    assert plan == Plan.from_json(plain.text)
    told = AllocationReport.model_validate(answer.json()["allocation"])
    assert told == allocation_of(plan, told.why_not_measured)
    assert "is queued" in told.why_not_measured
    assert (told.measuring, told.next_budget) == (None, None)
    shared = [row for row in told.layers if row.group]
    assert len(shared) == sum(len(group.slots) for group in plan.groups) > 1
    assert all(row.shares_with or row.readers == 1 for row in shared)


def test_plan_of_a_job_that_succeeded_has_what_was_measured(submit, deliver, client):
    made = submit()
    job_id = made["id"]
    first = Plan.from_json(client.get(f"/v1/jobs/{job_id}/plan").text)
    measured = allocation_of(first, "").model_dump(mode="json")
    measured["layers"][0]["measured"] = {
        **{"loss_change": -0.25, "standard_error": 0.125, "own_change": -0.5},
        **{"shared_change": -0.25, "parameters": 100},
    }
    with transaction() as session:
        plans.record(session, job_id, 1, first.to_json())
    deliver(accuracy=0.5, allocation=measured)
    newest, old = explained(client, job_id), explained(client, job_id, version=0)
    assert newest.json()["allocation"] == measured
    assert "not the one in force" in old.json()["allocation"]["why_not_measured"]
    assert old.json()["allocation"]["layers"][0]["measured"] is None
    shown = client.get(made["urls"]["self"]).json()["result"]
    assert shown["accuracy"] == 0.5
    assert "allocation" not in shown


def test_plan_of_a_job_of_an_earlier_release_says_why_it_is_not_measured(submit, deliver, client):
    job_id = submit()["id"]
    deliver(accuracy=0.5)
    told = explained(client, job_id).json()["allocation"]["why_not_measured"]
    assert "clone it" in told


def test_measuring_is_bounded(client, asked):
    answer = client.post("/v1/jobs", json={**asked, "explain": 11})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/explain"
    assert client.post("/v1/plans", json={**asked, "explain": 0}).status_code == 200
