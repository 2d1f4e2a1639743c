"""What a service says of several networks together."""

import pytest

SEVERAL = [
    {"name": name, "architecture": {"name": f"resnet-{depth}"}}
    for name, depth in (("deep", 14), ("shallow", 8))
]


@pytest.fixture
def ensemble():
    """A report's part, as two networks have it."""
    scores = {"accuracy": 0.5, "nll": 1.25, "ece": 0.125}
    subsets = [
        {
            "networks": names,
            **scores,
            "disagreement": None if len(names) == 1 else 0.25,
            "diversity": None if len(names) == 1 else 0.5,
            "parameters": 1000,
            "macs": 2000,
            "milliseconds": 0.5,
            "is_on_envelope": len(names) == 1,
        }
        for names in (["deep"], ["shallow"], ["deep", "shallow"])
    ]
    bins = {"images": [4] * 15, "right": [2] * 15, "confidence": [0.5] * 15}
    rungs = [{"network": "shallow", "answering": ["shallow"]}]
    return {
        "images": 60,
        "subsets": subsets,
        "disagreement": [[0.0, 0.25], [0.25, 0.0]],
        "reliability": [{"network": name, **bins} for name in ("", "deep", "shallow")],
        "anytime": {
            "held_out_images": 0,
            "ladder": {"rungs": rungs, "threshold": None},
            "reached": [{"macs": 2000.0, **scores}],
            "stop": None,
        },
        "robustness": None,
    }


def test_a_job_of_several_networks_tells_of_them_together(submit, deliver, client, ensemble):
    made = submit(architecture=None, networks=SEVERAL)
    networks = [{"name": "deep"}, {"name": "shallow"}]
    deliver(accuracy=0.5, metric="accuracy", networks=networks, ensemble=ensemble)
    answer = client.get(f"/v1/jobs/{made['id']}/ensemble")
    assert answer.status_code == 200
    assert answer.json() == ensemble
    shown = client.get(made["urls"]["self"]).json()["result"]
    assert shown["networks"] == networks
    assert "ensemble" not in shown


@pytest.mark.parametrize(
    ("report", "why"),
    [
        ({"networks": [{"name": "main"}], "metric": "accuracy"}, "of one network"),
        ({"networks": [{"name": "a"}, {"name": "b"}], "metric": "f1"}, "for cells"),
        ({"networks": [{"name": "a"}, {"name": "b"}], "metric": "accuracy"}, "clone it"),
    ],
)
def test_a_job_that_has_none_says_why(submit, deliver, client, report, why):
    made = submit()
    deliver(accuracy=0.5, **report)
    answer = client.get(f"/v1/jobs/{made['id']}/ensemble")
    assert answer.status_code == 404
    assert answer.json()["code"] == "ensemble_not_found"
    assert why in answer.json()["detail"]


def test_a_job_that_goes_on_says_so(submit, client):
    made = submit()
    answer = client.get(f"/v1/jobs/{made['id']}/ensemble")
    assert answer.status_code == 404
    assert "queued" in answer.json()["detail"]


def test_what_is_no_job_is_not_found(client):
    answer = client.get("/v1/jobs/job_00000000000000000000000000/ensemble")
    assert answer.json()["code"] == "job_not_found"
