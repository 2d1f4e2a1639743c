"""What sweeps found out, over HTTP: the frontier, the smallest network, the table, the picture."""

import csv
import io
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from npas.delivery import frontier_picture
from npas_api import sweep_tables
from npas_store import claims
from npas_store.database import transaction
from sqlalchemy import text

pytestmark = pytest.mark.usefixtures("store")

WANTED = {
    "architectures": ["resnet-8"],
    "budgets": [{"fraction": 0.5}, 20_000],
    "methods": ["ssn"],
    "seeds": [3, 4],
    "dataset": "digits",
    "labels": {"team": '=1+"2",\n3', "b": "-"},
}


@pytest.fixture
def sweep(client):
    """A sweep of six jobs: dense, half and 20,000 parameters, each with two seeds."""

    def make(**changes):
        answer = client.post("/v1/sweeps", json={**WANTED, **changes}, timeout=120)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return make


@pytest.fixture
def train(claim):
    """End the next jobs with these accuracies; None: it fails."""

    def end(*accuracies, state="succeeded"):
        for accuracy in accuracies:
            job = claim()
            how = "failed" if accuracy is None else state
            report = None if accuracy is None else {"accuracy": accuracy}
            with transaction() as session:
                claims.finish(
                    session, job.id, job.claim_number, how, message="done", result=report
                )

    return end


def frontier(client, sweep, **query):
    answer = client.get(sweep["urls"]["frontier"], params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_frontier_of_a_whole_sweep(sweep, train, client):
    made = sweep()
    train(0.9, 0.8, 0.5, 0.92, 0.9, 0.5)
    found = frontier(client, made)
    assert (found["is_complete"], found["state"]) == (True, "succeeded")
    dense, half, small = found["points"]
    assert [p["is_baseline"] for p in found["points"]] == [True, False, False]
    assert (dense["architecture"], half["method"], small["budget_parameters"]) == (
        *("resnet-8", "ssn", 20_000),
    )
    assert small["place"] == {"architecture": 0, "method": 0, "budget": 1}
    assert dense["place"] == {"architecture": 0, "method": None, "budget": None}
    assert dense["parameters"] == dense["dense_parameters"] > half["parameters"]
    assert [seed["seed"] for seed in half["seeds"]] == [3, 4]
    assert [seed["accuracy"] for seed in half["seeds"]] == [0.8, 0.9]
    assert half["accuracy"]["mean"] == pytest.approx(0.85)
    # t of one degree of freedom is 12.706, the standard error of two values half their distance.
    assert half["accuracy"]["high"] == pytest.approx(0.85 + 12.7062 * 0.05, rel=1e-4)
    assert [p["is_on_frontier"] for p in found["points"]] == [True, True, True]
    assert (found["within"], found["smallest"]) == (None, [])


def test_frontier_leaves_out_what_is_dominated(sweep, train, client):
    made = sweep(seeds=[0])
    train(0.9, 0.5, 0.6)
    found = frontier(client, made)
    assert [p["is_on_frontier"] for p in found["points"]] == [True, False, True]
    assert found["points"][0]["accuracy"] == {"mean": 0.9, "low": None, "high": None, "count": 1}


def test_smallest_within_points_of_dense_names_its_job(sweep, train, client):
    made = sweep()
    train(0.95, 0.93, 0.90, 0.95, 0.94, 0.90)
    for within, place in ((0, None), (1, None), (1.5, 1), (4.9, 1), (5, 2)):
        (answer,) = frontier(client, made, within=within)["smallest"]
        assert (answer["baseline"], answer["point"]) == (0, place)
        assert ("none: no smaller network" in answer["message"]) == (place is None)
    points = frontier(client, made)["points"]
    assert answer["parameters"] == points[2]["parameters"]
    (answer,) = frontier(client, made, within=1.5)["smallest"]
    assert answer["job_id"] == points[1]["seeds"][1]["job_id"]
    assert answer["accuracy"] == pytest.approx(0.935)
    assert "within 1.5 points" in answer["message"]


def test_smallest_is_asked_for_each_network_or_across(sweep, train, client):
    made = sweep(architectures=["resnet-8", "resnet-14"], budgets=[30_000], seeds=[0])
    train(0.90, 0.89, 0.99, 0.97)
    found = frontier(client, made, within=2)
    assert [a["point"] for a in found["smallest"]] == [1, 3]
    assert [p["is_on_frontier"] for p in found["points"]].count(True) >= 2
    assert all(p["is_on_own_frontier"] for p in found["points"])
    (answer,) = frontier(client, made, within=2, across=True)["smallest"]
    assert (answer["baseline"], answer["point"]) == (2, 3)
    (answer,) = frontier(client, made, within=10, across=True)["smallest"]
    smaller = min((1, 3), key=lambda place: found["points"][place]["parameters"])
    assert answer["point"] == smaller


def test_frontier_of_a_part_says_so(sweep, train, client):
    made = sweep()
    found = frontier(client, made, within=1)
    assert found["missing"] == {"waiting": 6, "failed": 0, "cancelled": 0, "deleted": 0}
    assert [p["accuracy"] for p in found["points"]] == [None] * 3
    (answer,) = found["smallest"]
    assert (answer["baseline"], answer["point"]) == (None, None)
    assert answer["message"].startswith("no dense network was trained to its end")
    train(0.9, 0.895, None)
    found = frontier(client, made, within=1)
    assert (found["is_complete"], found["missing"]["failed"]) == (False, 1)
    (answer,) = found["smallest"]
    assert (answer["point"], answer["job_id"]) == (1, found["points"][1]["seeds"][0]["job_id"])
    assert "so far: 4 of 6 jobs are not in it" in answer["message"]
    with transaction() as session:
        session.execute(text("DELETE FROM jobs WHERE state = 'failed'"))
    assert frontier(client, made)["missing"]["deleted"] == 1


def test_network_that_was_cancelled_is_shown_and_does_not_count(sweep, train, client):
    made = sweep(seeds=[0])
    train(0.9)
    train(0.3, state="cancelled")
    point = frontier(client, made)["points"][1]
    assert (point["accuracy"], point["seeds"][0]["accuracy"]) == (None, 0.3)
    assert (point["seeds"][0]["counts"], point["is_on_frontier"]) == (False, False)


def test_sweep_without_a_baseline_has_nothing_to_compare_with(sweep, train, client):
    made = sweep(seeds=[0], baseline=False)
    train(0.9, 0.8)
    (answer,) = frontier(client, made, within=1)["smallest"]
    assert answer["message"].startswith("the sweep has none dense")


@pytest.mark.parametrize("query", ["within=-1", "within=101", "within=nan", "across=x", "a=1"])
def test_frontier_refuses_what_it_cannot_use(client, query):
    answer = client.get(f"/v1/sweeps/sweep_{32 * '0'}/frontier?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def table(answer):
    return [*csv.DictReader(io.StringIO(answer.text, newline=""), strict=True)]


def test_table_holds_every_job(sweep, train, client):
    made = sweep()
    train(0.9, 0.1 + 0.2, None)
    answer = client.get(made["urls"]["table"], headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert made["id"] in answer.headers["Content-Disposition"]
    rows = table(answer)
    assert answer.content.count(b"\r\n") == 1 + len(rows) == 7
    assert list(rows[0]) == list(sweep_tables.COLUMNS)
    jobs = client.get(made["urls"]["jobs"] + "&sort=created_at").json()["data"]
    assert [row["job_id"] for row in rows] == [job["id"] for job in jobs]
    for row, job in zip(rows, jobs, strict=True):
        for name in ("state", "architecture", "method", "dataset", "sweep_id"):
            assert row[name] == job[name]
        for name in ("parameters", "budget_parameters", "dense_parameters"):
            assert int(row[name]) == job[name]
        assert row["accuracy"] == ("" if job["accuracy"] is None else repr(job["accuracy"]))
        assert int(row["seed"]) == job["spec"]["seed"]
    assert [row["is_baseline"] for row in rows] == ["true", "false", "false"] * 2
    assert [row["budget_fraction"] for row in rows] == ["1.0", "0.5", ""] * 2
    assert rows[1]["labels"] == '{"b": "-", "team": "=1+\\"2\\",\\n3"}'
    assert rows[1]["retry_of"] == rows[5]["accuracy"] == ""


def test_table_is_read_in_parts(sweep, client, monkeypatch):
    made = sweep()
    whole = client.get(made["urls"]["table"]).text
    monkeypatch.setattr(sweep_tables, "_BATCH", 2)
    assert client.get(made["urls"]["table"]).text == whole


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_text_comes_back_and_is_no_formula(texts):
    """RFC 4180 both ways; an apostrophe before what a spreadsheet would compute."""
    rows = [[sweep_tables._cell(value), "x"] for value in texts]
    written = sweep_tables._written(rows)
    read = [*csv.reader(io.StringIO(written, newline=""), strict=True)]
    assert [cell for cell, _ in read] == [
        "'" + value if value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") and value else value
        for value in texts
    ]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell, _ in read)


def test_cells_of_numbers_are_numbers():
    cells = [sweep_tables._cell(value) for value in (-1.5, 3, True, None)]
    assert cells == ["-1.5", "3", "true", ""]


def test_table_and_picture_are_of_their_types_alone(sweep, client):
    made = sweep(seeds=[0])
    for name in ("table", "picture"):
        answer = client.get(made["urls"][name], headers={"Accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
        nobody = made["urls"][name].replace(made["id"], "sweep_" + 32 * "0")
        assert client.get(nobody).json()["code"] == "sweep_not_found"


def test_picture_is_of_what_is_there(sweep, train, client):
    made = sweep(seeds=[0])
    assert "trained to its end yet" in client.get(made["urls"]["picture"]).text
    train(0.9, 0.85, 0.5)
    answer = client.get(made["urls"]["picture"])
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert ElementTree.fromstring(answer.text).tag.endswith("svg")
    points = frontier(client, made)["points"]
    marks = [
        {
            "series": point["method"],
            "parameters": point["parameters"],
            **{name: point["accuracy"][name] for name in ("mean", "low", "high")},
            "is_baseline": point["is_baseline"],
            "is_on_frontier": True,
        }
        for point in points
    ]
    assert answer.text == frontier_picture.frontier_svg("digits: accuracy over parameters", marks)


def test_table_of_a_sweep_for_a_board_that_is_known_no_more(sweep, client, monkeypatch, tmp_path):
    """Jobs say how many bytes it had room for."""
    (tmp_path / "boards.json").write_text('{"gone": {"flash_bytes": 70000}}')
    monkeypatch.setenv("NPAS_BOARDS", str(tmp_path / "boards.json"))
    made = sweep(budgets=[{"device": "gone"}], seeds=[3])
    monkeypatch.delenv("NPAS_BOARDS")
    answer = client.get(made["urls"]["table"])
    assert answer.status_code == 200
    rows = [*csv.DictReader(io.StringIO(answer.text))]
    assert {row["budget_bytes"] for row in rows} == {"", "70000"}  # none of the baseline
    job = client.get(f"/v1/jobs/{next(r['job_id'] for r in rows if r['budget_bytes'])}").json()
    assert job["spec"]["budget"] == {"device": "gone", "bytes": 70_000}
