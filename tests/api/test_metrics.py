"""Learning curves: which rows, which metrics, and what survives thinning out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from npas_api.curves import thinned
from npas_api.metrics import PLACE
from npas_store import metrics
from npas_store.database import transaction


def curve(epochs):
    return [
        {
            "stage": "train",
            "epoch": epoch,
            "epochs": epochs,
            "step": 10 * epoch,
            "train_loss": 1 / epoch,
            "validation_accuracy": math.sin(epoch),
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.fixture
def job_id(submit):
    return submit()["id"]


def record(job_id, rows):
    with transaction() as session:
        for row in rows:
            metrics.record(session, job_id, row)


def test_metrics_of_a_new_job_are_none(job_id, client):
    assert client.get(f"/v1/jobs/{job_id}/metrics").json() == {"names": [], "total": 0, "data": []}


def test_metrics_come_in_the_order_of_training(job_id, client):
    record(job_id, curve(3))
    record(job_id, [{**curve(1)[0], "stage": stage} for stage in ("search", "teacher")])
    answer = client.get(f"/v1/jobs/{job_id}/metrics").json()
    places = [(row["stage"], row["epoch"]) for row in answer["data"]]
    assert places == [("teacher", 1), ("search", 1), ("train", 1), ("train", 2), ("train", 3)]
    assert answer["data"][2:] == curve(3)
    assert set(answer["names"]) == {"train_loss", "validation_accuracy"}


def test_metrics_can_be_chosen(job_id, client):
    record(job_id, curve(2))
    url = f"/v1/jobs/{job_id}/metrics?names=train_loss,unheard_of"
    row = client.get(url).json()["data"][1]
    assert row["train_loss"] == 0.5
    assert row["unheard_of"] is None
    assert row.keys() == {*PLACE, "train_loss", "unheard_of"}


def test_metrics_are_thinned_out_and_say_so(job_id, client):
    record(job_id, curve(500))
    url = f"/v1/jobs/{job_id}/metrics?max_points=50&names=validation_accuracy"
    answer = client.get(url).json()
    assert (answer["total"], len(answer["data"]) <= 50) == (500, True)
    values = [row["validation_accuracy"] for row in answer["data"]]
    everything = [row["validation_accuracy"] for row in curve(500)]
    assert (min(values), max(values)) == (min(everything), max(everything))


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("max_points=1", "/max_points"),
        ("max_points=10001", "/max_points"),
        ("names=", "/names"),
        ("names=a,,b", "/names"),
        ("names=a%00", "/names"),
        (f"names={'a' * 501}", "/names"),
        ("points=3", "/points"),
    ],
)
def test_metrics_refuse_what_they_cannot_use(job_id, client, query, pointer):
    answer = client.get(f"/v1/jobs/{job_id}/metrics?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


ROW = st.fixed_dictionaries(
    {}, optional={name: st.none() | st.floats(-10, 10) for name in ("loss", "accuracy")}
)


@given(
    rows=st.lists(ROW, max_size=200),
    names=st.lists(st.sampled_from(["loss", "accuracy", "other"]), unique=True),
    max_points=st.integers(2, 100),
)
def test_thinned_keeps_the_ends_and_the_peaks(rows, names, max_points):
    kept = thinned(rows, names, max_points)
    assert kept == sorted(set(kept))
    assert len(kept) <= max(max_points, 0)
    if rows:
        assert {0, len(rows) - 1} <= set(kept)
    if len(rows) <= max_points:
        assert kept == list(range(len(rows)))
    elif names and max_points >= 2 + 2 * len(names):
        for name in names:
            before = [row[name] for row in rows if row.get(name) is not None]
            after = [rows[i][name] for i in kept if rows[i].get(name) is not None]
            assert [min(before), max(before)] == [min(after), max(after)] if before else not after
