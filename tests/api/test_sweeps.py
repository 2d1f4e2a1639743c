"""Sweeps over HTTP: all planned before any is queued; looked at, listed and cancelled as one."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from npas_api import sweep_planning
from npas_api.planning import Planner
from npas_store import homes
from npas_store.database import reading
from npas_store.settings import settings
from npas_store.tables import Job, OutboxMessage, PlanVersion, Sweep
from sqlalchemy import func, select

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def wanted():
    """A valid request for a sweep: of six jobs, two of them baselines."""
    return {
        "architectures": ["resnet-8"],
        "budgets": [{"fraction": 0.5}, 20_000],
        "methods": ["ssn"],
        "seeds": [3, 4],
        "dataset": "digits",
        "training": {"epochs": 2},
        "labels": {"team": "vision"},
    }


@pytest.fixture
def post(client, wanted):
    """Ask for a sweep; keyword arguments replace parts of the request."""

    def send(headers=None, **changes):
        return client.post("/v1/sweeps", json={**wanted, **changes}, headers=headers, timeout=120)

    return send


@pytest.fixture
def made(post):
    """A sweep of six jobs."""
    answer = post()
    assert answer.status_code == 202, answer.text
    return answer.json()


def count(*tables):
    with reading() as session:
        return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def places(rows):
    return [(row["architecture"], row["method"], row["budget"]) for row in rows]


def jobs_of(client, sweep):
    url = sweep["urls"]["jobs"] + "&sort=created_at&limit=100"
    return client.get(url).json()["data"]


def test_create_queues_all_jobs_and_says_where_they_are(post, client):
    answer = post()
    sweep = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == sweep["urls"]["self"] == f"/v1/sweeps/{sweep['id']}"
    assert "Idempotency-Replayed" not in answer.headers
    assert (sweep["state"], sweep["is_terminal"], sweep["progress"]) == ("queued", False, 0)
    assert (sweep["num_jobs"], sweep["counts"]["queued"]) == (6, 6)
    assert (sweep["left_out"], sweep["eta_seconds"]) == ([], None)
    assert sweep["labels"] == {"team": "vision"}
    assert count(Sweep, Job, PlanVersion, OutboxMessage) == [1, 6, 6, 6]
    jobs = jobs_of(client, sweep)
    assert [(job["method"], job["spec"]["seed"]) for job in jobs] == [
        *(("dense", 3), ("ssn", 3), ("ssn", 3)),
        *(("dense", 4), ("ssn", 4), ("ssn", 4)),
    ]
    dense = jobs[0]["dense_parameters"]
    assert [job["budget_parameters"] for job in jobs[:3]] == [dense, dense // 2, 20_000]
    assert {job["sweep_id"] for job in jobs} == {sweep["id"]}
    assert all(job["labels"] == {"team": "vision"} for job in jobs)


def test_a_job_of_a_sweep_is_planned_as_it_would_be_alone(made, client, submit):
    jobs = jobs_of(client, made)
    alone = submit(
        architecture="resnet-8", budget={"fraction": 0.5}, method="ssn", labels={}, seed=3
    )
    plans = [client.get(job["urls"]["plan"]).content for job in (jobs[1], alone)]
    assert plans[0] == plans[1]
    assert jobs[1]["spec"] == alone["spec"] | {"labels": {"team": "vision"}}


def test_dense_in_the_list_is_the_baseline(post, client):
    answer = post(methods=["dense", "ssn"], budgets=[{"fraction": 1.0}, {"fraction": 2.0}])
    sweep = answer.json()
    dense = [job for job in jobs_of(client, sweep) if job["method"] == "dense"]
    assert (sweep["num_jobs"], len(dense)) == (6, 2)  # one for each seed, at the first budget
    (twin,) = sweep["left_out"]
    assert places([twin]) == [(0, 0, 1)]
    assert twin["reason"]["code"] == "duplicate"
    assert "architecture 0, method 0, budget 0" in twin["reason"]["message"]


def test_baseline_is_left_away_where_it_is_not_wanted(post, client):
    sweep = post(baseline=False).json()
    assert {job["method"] for job in jobs_of(client, sweep)} == {"ssn"}
    assert sweep["num_jobs"] == 4


def test_budgets_that_come_to_the_same_are_one_job(post, made, client):
    half = jobs_of(client, made)[1]["budget_parameters"]
    sweep = post(budgets=[half, {"fraction": 0.5}]).json()
    assert (places(sweep["left_out"]), sweep["num_jobs"]) == ([(0, 0, 1)], 4)
    assert sweep["left_out"][0]["reason"]["code"] == "duplicate"


def test_create_takes_lists_of_networks(post, client):
    groups = [
        [{"name": name, "architecture": "resnet-8"} for name in names] for names in ("a", "ab")
    ]
    sweep = post(architectures=None, networks=groups, budgets=[20_000], seeds=[0]).json()
    found = [job["architecture"] for job in jobs_of(client, sweep)]
    assert found == ["resnet-8", "resnet-8", "resnet-8 + resnet-8", "resnet-8 + resnet-8"]


def test_budgets_below_the_minimum_are_named_with_it(post):
    answer = post(budgets=[{"fraction": 0.5}, 100, 101], methods=["ssn", "soft_sharing"])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "infeasible_points")
    assert places(problem["points"]) == [(0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert [point["minimum"] for point in problem["points"]] == [634] * 2 + [72_700] * 3
    pointers = [error["pointer"] for error in problem["errors"]]
    assert pointers == ["/budgets/1", "/budgets/2", "/budgets/0", "/budgets/1", "/budgets/2"]
    assert problem["detail"].startswith("5 of 7 budgets are below the minimum: ssn at 100 param")
    assert "raise it to at least 634" in problem["detail"]
    assert "leave_out" in problem["detail"]
    assert count(Sweep, Job, OutboxMessage) == [0, 0, 0]


def test_budgets_below_the_minimum_can_be_left_out(post, client):
    sweep = post(budgets=[{"fraction": 0.5}, 100], infeasible="leave_out").json()
    (point,) = sweep["left_out"]
    assert (places([point]), point["minimum"]) == ([(0, 0, 1)], 634)
    assert point["reason"]["code"] == "budget_infeasible"
    assert len(jobs_of(client, sweep)) == sweep["num_jobs"] == 4
    problem = post(budgets=[100], infeasible="leave_out").json()
    assert (problem["code"], count(Sweep)) == ("infeasible_points", [1])
    assert "no point is left" in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"architectures": ["resnet-8", "resnet-9"]}, "invalid_spec", "/architectures/1/name"),
        ({"methods": ["ssn", "sssn"]}, "unknown_name", "/methods/1"),
        ({"methods": [{"name": "ssn", "groups": "x"}]}, "invalid_spec", "/methods/0/groups"),
        ({"dataset": "cifar10"}, "dataset_unusable", "/dataset"),
        ({"seeds": [1, 1]}, "invalid_request", "/seeds"),
        ({"seeds": [*range(101)]}, "invalid_request", ""),
        ({"budgets": [-1]}, "invalid_request", "/budgets/0"),
        ({"architectures": None}, "invalid_request", ""),
        ({"colour": "red"}, "invalid_request", "/colour"),
    ],
)
def test_create_refuses_what_cannot_be_and_blames_it(post, changes, code, pointer):
    answer = post(**changes)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), problem
    assert problem["errors"][0]["pointer"] == pointer
    assert count(Sweep, Job) == [0, 0]


def test_create_refuses_a_dataset_that_nobody_sent(post):
    name = "uploaded:ds_" + "0" * 32
    problem = post(dataset=name).json()
    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/dataset"), problem


def test_plans_that_take_too_long_together_are_refused(post, monkeypatch):
    short = settings().model_copy(update={"sweep_seconds": 0.001})
    monkeypatch.setattr(sweep_planning, "settings", lambda: short)
    problem = post().json()
    assert (problem["status"], problem["code"]) == (422, "plan_too_large")
    assert "0 of 3 plans" in problem["detail"]
    assert count(Sweep, Job) == [0, 0]


def test_client_that_leaves_ends_the_planning_and_leaves_nothing(
    url, client, wanted, monkeypatch, caplog
):
    asked = []

    async def seen(planner, spec):
        asked.append(spec)
        return await planned(planner, spec)

    planned = Planner.plan_job
    monkeypatch.setattr(Planner, "plan_job", seen)
    caplog.set_level("INFO", "npas_api.middleware")
    host, port = url.removeprefix("http://").split(":")
    budgets = [*range(60_000, 60_150)]
    raw = client.build_request(
        "POST", "/v1/sweeps", json={**wanted, "budgets": budgets, "seeds": [0]}
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in raw.headers.items())
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST /v1/sweeps HTTP/1.1\r\n{head}\r\n".encode() + raw.read())
        wait_until(lambda: asked)
    wait_until(lambda: "the client of POST '/v1/sweeps' left" in caplog.text)
    so_far = len(asked)
    assert so_far < len(budgets)
    alone = {name: wanted[name] for name in ("dataset", "training", "labels")}
    for budget in (70_000, 70_001, 70_002):
        job = {**alone, "architecture": "resnet-8", "budget": budget}
        assert client.post("/v1/jobs", json=job).status_code == 202
    assert (len(asked), count(Sweep, Job)) == (so_far + 3, [0, 3])


def wait_until(holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_same_key_and_body_give_the_same_sweep(post):
    headers = {"Idempotency-Key": "one"}
    first, again = post(headers), post(headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert first.json()["id"] == again.json()["id"]
    other = post(headers, seeds=[1])
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert count(Sweep, Job) == [1, 6]


def test_same_key_at_once_makes_one_sweep(post):
    with ThreadPoolExecutor(3) as pool:
        answers = [*pool.map(lambda _: post({"Idempotency-Key": "one"}), range(3))]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count(Sweep, Job) == [1, 6]


def test_key_of_another_kind_of_request_is_refused(post, client, asked):
    keys = [{"Idempotency-Key": name} for name in ("job", "sweep")]
    assert client.post("/v1/jobs", json=asked, headers=keys[0]).status_code == 202
    assert post(keys[1]).status_code == 202
    answers = [post(keys[0]), client.post("/v1/jobs", json=asked, headers=keys[1])]
    assert [a.json()["code"] for a in answers] == ["idempotency_key_reused"] * 2
    assert count(Sweep, Job) == [1, 7]


def test_state_counts_and_progress_follow_the_jobs(made, client, claim, deliver):
    job = claim()
    sweep = client.get(made["urls"]["self"]).json()
    assert (sweep["state"], sweep["counts"]["running"]) == ("running", 1)
    assert client.get(made["urls"]["cancel"]).status_code == 405
    deliver(accuracy=0.5)
    sweep = client.get(made["urls"]["self"]).json()
    assert (sweep["counts"]["succeeded"], sweep["progress"]) == (1, pytest.approx(1 / 6))
    assert sweep["started_at"] is not None
    assert job.sweep_id == made["id"]


def test_cancel_ends_what_waits_as_often_as_it_is_asked(made, client, claim):
    claim()
    for _ in range(2):
        answer = client.post(made["urls"]["cancel"])
        assert answer.status_code == 202
        assert (answer.json()["state"], answer.json()["cancel_requested"]) == ("cancelling", True)
        counts = {state: n for state, n in answer.json()["counts"].items() if n}
        assert counts == {"cancelling": 1, "cancelled": 5}


def test_lists_show_the_jobs_of_a_sweep_alone(made, client, submit, deliver):
    alone = submit()
    deliver(accuracy=0.5)
    jobs = jobs_of(client, made)
    assert alone["id"] not in [job["id"] for job in jobs]
    assert alone["sweep_id"] is None
    results = client.get(made["urls"]["results"]).json()["data"]
    assert [row["job_id"] for row in results] == [jobs[0]["id"]]
    nobody = "sweep_" + 32 * "0"
    assert client.get(f"/v1/jobs?sweep={nobody}").json()["data"] == []
    assert client.get("/v1/jobs?sweep=mine").json()["errors"][0]["pointer"] == "/sweep"


def test_sweeps_are_listed_page_by_page(post, client):
    first = post(seeds=[0]).json()
    second = post(seeds=[1], labels={"team": "speech"}).json()
    assert [s["id"] for s in client.get("/v1/sweeps").json()["data"]] == [
        second["id"],
        first["id"],
    ]
    page = client.get("/v1/sweeps?limit=1&sort=created_at")
    assert [s["id"] for s in page.json()["data"]] == [first["id"]]
    assert page.json()["has_more"]
    rest = client.get(page.links["next"]["url"]).json()
    assert ([s["id"] for s in rest["data"]], rest["next"]) == ([second["id"]], None)
    spoken = client.get("/v1/sweeps", params={"label[team]": "speech"}).json()["data"]
    assert [s["id"] for s in spoken] == [second["id"]]
    late = client.get("/v1/sweeps", params={"created_after": second["created_at"]})
    assert late.json()["data"] == []
    for query in ("colour=red", "sort=state", "after=x", "limit=0"):
        assert client.get(f"/v1/sweeps?{query}").status_code == 422


def test_delete_waits_for_the_end_and_takes_all_jobs(made, client, submit):
    homes.settle()
    alone = submit()
    answer = client.delete(made["urls"]["self"])
    assert (answer.status_code, answer.json()["code"]) == (409, "sweep_goes_on")
    assert answer.json()["detail"].startswith(f"6 jobs of {made['id']} have not ended; end them")
    client.post(made["urls"]["cancel"])
    answer = client.delete(made["urls"]["self"])
    assert (answer.status_code, answer.json()["num_jobs"]) == (200, 6)
    assert set(answer.json()["freed"]) == {"files", "bytes"}
    assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [alone["id"]]
    for method in (client.get, client.delete):
        assert method(made["urls"]["self"]).json()["code"] == "sweep_not_found"


def test_jobs_that_are_deleted_alone_leave_the_sweep_as_it_is(post, client):
    homes.settle()
    made = post(seeds=[3]).json()
    client.post(made["urls"]["cancel"])
    for job in jobs_of(client, made):
        assert client.delete(job["urls"]["self"]).status_code == 200
        sweep = client.get(made["urls"]["self"]).json()
        assert (sweep["is_terminal"], sweep["num_jobs"]) == (True, 3)
    assert sum(sweep["counts"].values()) == 0
    missing = client.get(made["urls"]["frontier"]).json()["missing"]
    assert missing == {"waiting": 0, "failed": 0, "cancelled": 0, "deleted": 3}
    assert client.get(made["urls"]["table"]).text.count("\r\n") == 1
    assert client.delete(made["urls"]["self"]).json()["num_jobs"] == 0


def test_key_of_a_deleted_sweep_makes_a_new_one(post, client):
    homes.settle()
    headers = {"Idempotency-Key": "one"}
    first = post(headers).json()
    client.post(first["urls"]["cancel"])
    assert client.delete(first["urls"]["self"]).status_code == 200
    again = post(headers)
    assert again.json()["id"] != first["id"]
    assert "Idempotency-Replayed" not in again.headers


@pytest.mark.parametrize("name", ["sweep_0", "job_" + 32 * "0", "sweep_" + 32 * "0", "x" * 300])
def test_sweep_that_is_not_there_is_a_problem(client, name):
    for method, path in (("GET", ""), ("POST", "/cancel")):
        answer = client.request(method, f"/v1/sweeps/{name}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "sweep_not_found")


def test_sweep_over_bytes_plans_each_file(post, client):
    budgets = [{"bytes": 9000}, {"bytes": 40_000}]
    sweep = post(budgets=budgets, seeds=[3]).json()
    jobs = jobs_of(client, sweep)
    asked = [job["spec"]["budget"].get("bytes") for job in jobs]
    assert sorted(each for each in asked if each) == [9000, 40_000]
    refused = post(budgets=[{"bytes": 900}, {"bytes": 9000}])
    assert refused.status_code == 422
    assert "900 bytes" in refused.json()["detail"]
    left = post(budgets=[{"bytes": 900}, {"bytes": 9000}], infeasible="leave_out").json()
    assert [row["budget"] for row in left["left_out"]] == [0]
