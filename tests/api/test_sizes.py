"""Jobs that search the size of their network: plans, refusals, and what they lead to."""

import npas
import pytest
from npas.spec import PlanRequest
from npas_store import plans
from npas_store.database import transaction


def test_plan_lists_the_sizes_that_a_search_offers(client, asked):
    request = {key: asked[key] for key in ("architecture", "budget", "dataset")}
    request |= {"method": "uniform", "search": {"scale": True}, "limits": {"macs": 1_200_000}}
    answer = client.post("/v1/plans", params={"offered": True}, json=request)
    assert answer.status_code == 200, answer.text
    offers = npas.offered(PlanRequest.model_validate(request))
    assert answer.json()["offered"] == [offer.as_json() for offer in offers]
    assert len(offers) > 1
    assert all(offer.macs <= 1_200_000 for offer in offers)
    alone = client.post("/v1/plans", json=request).text
    assert answer.text.startswith(f'{{"plan":{alone},"offered":[')
    both = client.post("/v1/plans", params={"offered": True, "estimate": True}, json=request)
    assert both.json().keys() == {"plan", "estimate", "offered"}
    again = {**request, "architecture": offers[-1].as_json()["architecture"]}
    assert client.post("/v1/plans", json=again).status_code == 200


@pytest.mark.parametrize(
    ("changes", "pointer", "told"),
    [
        ({"limits": {"macs": 1}}, "/limits", "the fewest macs are"),
        ({"search": None, "limits": {"macs": 9}}, "", "give search"),
        ({"limits": {"bytes": 9}}, "/limits/bytes", "there is no such field"),
        ({"search": True}, "/search", "give an object"),
        ({"budget": 10}, "/budget", "of all sizes that are offered the lowest"),
        ({"start": {"checkpoint": 64 * "0"}}, None, ""),
    ],
)
def test_search_of_sizes_that_cannot_be_is_refused(client, asked, changes, pointer, told):
    answer = client.post("/v1/jobs", json={**asked, "search": {"scale": True}, **changes})
    assert answer.status_code in (409, 422), answer.text
    assert told in answer.text
    assert pointer is None or answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("budget", [None, {"fraction": 0.5}])
def test_continue_trains_the_network_that_won_a_race_of_sizes(
    submit, client, deliver_network, budget
):
    parent = submit(method="uniform", search={"scale": True}, limits={"macs": 10**9})
    asked = npas.plan("resnet-8", budget={"fraction": 1.0}, method="dense", dataset="digits")
    offers = npas.offered(
        "resnet-8", budget={"fraction": 0.75}, method="uniform", dataset="digits"
    )
    won = offers[-1].plan
    assert won.networks[0].architecture.name != "resnet-8"
    with transaction() as session:
        plans.record(session, parent["id"], 1, won.to_json())
    deliver_network()
    wish = {"epochs": 1} if budget is None else {"epochs": 1, "budget": budget}
    job = client.post(parent["urls"]["continue"], json=wish)
    assert job.status_code == 202, job.text
    spec, plan = (
        job.json()["spec"],
        npas.Plan.from_json(client.get(job.json()["urls"]["plan"]).text),
    )
    assert spec.keys() & {"search", "limits", "architecture"} == set()
    assert plan.networks == won.networks
    if budget is None:
        assert plan == won
    else:
        assert plan.ledger.budget == asked.dense // 2
    copy = client.post(parent["urls"]["clone"], json={"seed": 1}).json()
    assert (copy["spec"]["search"], copy["spec"]["limits"]) == ({"scale": True}, {"macs": 10**9})
    plain = client.post(parent["urls"]["clone"], json={"search": None, "limits": None})
    assert plain.json()["spec"].keys() & {"search", "limits"} == set()
