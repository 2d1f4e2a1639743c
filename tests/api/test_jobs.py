"""Jobs over HTTP: create, list, look at, cancel."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from npas_store import workers
from npas_store.database import reading, transaction
from npas_store.tables import Event, Job, OutboxMessage, PlanVersion, Transition
from sqlalchemy import func, select, text

pytestmark = pytest.mark.usefixtures("store")


def count(table):
    with reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def ids(page):
    return [job["id"] for job in page["data"]]


def test_create_queues_a_job_and_says_where_it_is(client, asked):
    answer = client.post("/v1/jobs", json=asked)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == job["urls"]["self"] == f"/v1/jobs/{job['id']}"
    assert "Idempotency-Replayed" not in answer.headers
    assert (job["state"], job["is_terminal"], job["attempt"]) == ("queued", False, 0)
    assert job["spec"]["architecture"]["name"] == "resnet-8"
    assert job["labels"] == {"team": "vision"}
    assert job["minimum_parameters"] <= job["parameters"] <= job["budget_parameters"]
    assert [step["to_state"] for step in job["transitions"]] == ["queued"]
    assert [count(table) for table in (Job, Transition, Event, PlanVersion)] == [1, 1, 1, 1]


def test_create_refuses_what_fits_no_worker_and_says_what_would(client, asked):
    with transaction() as session:
        workers.beat(session, "small", memory_bytes=100_000)
        workers.beat(session, "large", memory_bytes=200_000)
    answer = client.post("/v1/jobs", json=asked)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "too_large")
    assert "the largest device has 0.2 MB; choose a smaller network" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/architecture"
    assert count(Job) == 0


def test_create_takes_the_short_forms(submit):
    job = submit(architecture="resnet-8", budget=74_000, method="soft_sharing", dataset="digits")
    assert job["budget_parameters"] == 74_000
    assert (job["architecture"], job["method"], job["dataset"]) == (
        "resnet-8",
        "soft_sharing",
        "digits",
    )


def test_create_takes_several_networks(submit, asked):
    del asked["architecture"]
    networks = [{"name": name, "architecture": "resnet-8"} for name in ("one", "two")]
    assert submit(architecture=None, networks=networks)["architecture"] == "resnet-8 + resnet-8"


def test_create_below_the_minimum_names_it(client, asked):
    answer = client.post("/v1/jobs", json={**asked, "budget": 1000})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "infeasible_budget")
    assert problem["errors"][0]["pointer"] == "/budget"
    assert (problem["budget"], problem["method"]) == (1000, "superweights")
    assert "superweights" not in problem["alternatives"]
    enough = {**asked, "budget": problem["minimum"]}
    assert client.post("/v1/jobs", json=enough).status_code == 202
    assert count(Job) == 1


def test_create_refuses_data_that_is_not_here(client, asked):
    answer = client.post("/v1/jobs", json={**asked, "dataset": "cifar10"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "dataset_unusable")
    assert problem["errors"][0]["pointer"] == "/dataset"
    assert "npas.data cifar10" in problem["detail"]
    assert count(Job) == 0


def test_create_refuses_a_teacher_that_is_not_here(client, asked):
    training = {"distillation": "checkpoint:nobody"}
    answer = client.post("/v1/jobs", json={**asked, "training": training})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "dataset_unusable")
    assert problem["errors"][0]["pointer"] == "/training/distillation/teacher"
    assert "nobody.safetensors" in problem["detail"]
    assert count(Job) == 0


def test_create_refuses_what_a_lone_network_cannot_learn_from_others(client, asked):
    training = {"ensemble": {"mutual": 0.5}}
    for url in ("/v1/jobs", "/v1/plans?estimate=true"):
        problem = client.post(url, json={**asked, "training": training}).json()
        assert (problem["status"], problem["code"]) == (422, "invalid_spec")
        assert problem["errors"][0]["pointer"] == "/training/ensemble/mutual"
    training["ensemble"]["mutual"] = 2
    problem = client.post("/v1/jobs", json={**asked, "training": training}).json()
    assert (problem["status"], problem["errors"][0]["pointer"]) == (
        422,
        "/training/ensemble/mutual",
    )
    assert count(Job) == 0


def test_create_blames_the_networks_where_there_are_several(client, asked):
    del asked["architecture"]
    asked["networks"] = [{"name": "one", "architecture": "resnet-9"}]
    problem = client.post("/v1/jobs", json=asked).json()
    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/networks")


def test_create_refuses_networks_that_cannot_see_the_same_images(client, asked):
    del asked["architecture"]
    asked["networks"] = [
        {"name": f"net{size}", "architecture": {"name": "resnet-8", "input_size": size}}
        for size in (8, 16)
    ]
    problem = client.post("/v1/jobs", json=asked).json()
    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/networks")
    assert "input_size" in problem["detail"]
    assert count(Job) == 0


@pytest.fixture
def newer_schema():
    """Have the database at a schema that this code does not know."""

    def change(name):
        with transaction() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :name"), {"name": name})

    with reading() as session:
        before = session.scalar(text("SELECT version_num FROM alembic_version"))
    change("ffffffffffff")
    yield
    change(before)


@pytest.mark.usefixtures("newer_schema")
def test_create_takes_no_job_on_a_newer_schema(client, asked):
    answer = client.post("/v1/jobs", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (503, "schema_mismatch")
    assert "newer version of npas" in answer.json()["detail"]
    assert count(Job) == 0


def test_same_key_and_body_give_the_same_job(client, asked):
    headers = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    first = client.post("/v1/jobs", json=asked, headers=headers)
    again = client.post("/v1/jobs", json=asked, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert count(Job) == count(PlanVersion) == 1


def test_same_key_and_other_body_are_refused(client, asked):
    headers = {"Idempotency-Key": "one"}
    first = client.post("/v1/jobs", json=asked, headers=headers).json()
    answer = client.post("/v1/jobs", json={**asked, "seed": 1}, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "idempotency_key_reused")
    assert first["id"] in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/idempotency-key"
    assert count(Job) == 1


@pytest.mark.parametrize("rounds", range(3))
def test_one_key_used_at_once_makes_one_job(client, asked, rounds):
    headers = {"Idempotency-Key": f"at-once-{rounds}"}
    asked["seed"] = rounds

    def send(_):
        return client.post("/v1/jobs", json=asked, headers=headers)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, range(48)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert [count(table) for table in (Job, Transition, PlanVersion)] == [1, 1, 1]


def test_one_key_used_at_once_with_other_bodies_makes_one_job(client, asked):
    def send(seed):
        headers = {"Idempotency-Key": "shared"}
        return client.post("/v1/jobs", json={**asked, "seed": seed}, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 15
    assert count(Job) == 1


@pytest.mark.parametrize("key", ["", "two words", "k" * 201, "tab\tbed"])
def test_a_key_that_cannot_be_one_is_refused(client, asked, key):
    answer = client.post("/v1/jobs", json=asked, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["in"] == "header"
    assert count(Job) == 0


def test_get_follows_the_job_to_its_end(submit, deliver, client):
    job_id = submit()["id"]
    assert deliver(accuracy=0.75, parameters=50_000) == job_id
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["is_terminal"], job["progress"]) == ("succeeded", True, 1.0)
    assert (job["accuracy"], job["parameters"]) == (0.75, 50_000)
    assert job["result"] == {"accuracy": 0.75, "parameters": 50_000}
    states = [step["to_state"] for step in job["transitions"]]
    assert states == ["queued", "running", "succeeded"]
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]


@pytest.mark.parametrize(
    "job_id",
    ["job_" + "0" * 32, "job_1", "JOB_" + "0" * 32, "%00", "..%2f..", "job_" + "0" * 9999],
)
@pytest.mark.parametrize(
    "part", ["", "/plan", "/events", "/metrics", "/artifacts", "/artifacts/plan.json"]
)
def test_a_job_that_is_not_there_is_404(client, job_id, part):
    answer = client.get(f"/v1/jobs/{job_id}{part}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("job_not_found", "not_found")


def test_cancel_ends_a_queued_job_at_once(submit, client):
    job_id = submit()["id"]
    answer = client.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["is_terminal"]) == ("cancelled", True)
    assert job["reason"]["code"] == "user_cancelled"
    assert job["transitions"][-1]["to_state"] == "cancelled"


def test_cancel_lets_a_running_job_deliver_its_best(submit, claim, client):
    job_id = submit()["id"]
    claim()
    first = client.post(f"/v1/jobs/{job_id}/cancel")
    again = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (first.status_code, first.json()["state"]) == (202, "cancelling")
    assert first.json() == again.json()


def test_cancel_leaves_an_ended_job_as_it_is(submit, deliver, client):
    submit()
    job_id = deliver(accuracy=0.5)
    before = client.get(f"/v1/jobs/{job_id}").json()
    assert client.post(f"/v1/jobs/{job_id}/cancel").json() == before


def test_cancel_of_no_job_is_404(client):
    assert client.post(f"/v1/jobs/job_{'0' * 32}/cancel").json()["code"] == "job_not_found"


def test_list_pages_through_all_jobs_once(submit, client):
    made = [submit(seed=seed)["id"] for seed in range(7)]
    seen, url = [], "/v1/jobs?limit=3"
    while url:
        answer = client.get(url)
        seen.append(ids(answer.json()))
        url = answer.links.get("next", {}).get("url")
    assert [len(page) for page in seen] == [3, 3, 1]
    assert [job_id for page in seen for job_id in page] == made[::-1]


def test_list_goes_on_where_it_was_while_jobs_arrive(submit, client):
    made = [submit(seed=seed)["id"] for seed in range(4)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    submit(seed=9)
    rest = client.get("/v1/jobs", params={"limit": 2, "after": first["next"]}).json()
    assert ids(first) + ids(rest) == made[::-1]
    assert (rest["has_more"], rest["next"]) == (False, None)


def test_list_sorts_both_ways(submit, client):
    made = [submit(seed=seed)["id"] for seed in range(3)]
    assert ids(client.get("/v1/jobs?sort=created_at").json()) == made
    assert ids(client.get("/v1/jobs?sort=-created_at").json()) == made[::-1]


def test_list_keeps_the_filter_on_the_next_page(submit, client):
    for seed in range(5):
        submit(seed=seed, labels={"even": "yes" if seed % 2 == 0 else "no"})
    first = client.get("/v1/jobs", params={"label[even]": "yes", "limit": 2})
    rest = client.get(first.links["next"]["url"]).json()
    assert [job["spec"]["seed"] for job in first.json()["data"]] == [4, 2]
    assert [job["spec"]["seed"] for job in rest["data"]] == [0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {0, 1, 2}),
        ({"state": "queued"}, {1, 2}),
        ({"state": ["queued", "succeeded"]}, {0, 1, 2}),
        ({"state": "failed"}, set()),
        ({"architecture": "resnet-14"}, {1}),
        ({"method": "dense"}, {2}),
        ({"dataset": "digits"}, {0, 1, 2}),
        ({"dataset": "mnist"}, set()),
        ({"label[team]": "vision"}, {0, 1}),
        ({"label[team]": "vision", "label[owner/x.y-z]": "a b&c=d"}, {1}),
        ({"label[team]": "visio"}, set()),
        ({"method": "dense", "architecture": "resnet-14"}, set()),
    ],
)
def test_list_filters(submit, deliver, client, query, expected):
    submit(seed=0)
    submit(seed=1, architecture="resnet-14", labels={"team": "vision", "owner/x.y-z": "a b&c=d"})
    submit(seed=2, method="dense", budget={"fraction": 1.0}, labels={})
    deliver(accuracy=0.5)
    page = client.get("/v1/jobs", params=query).json()
    assert {job["spec"]["seed"] for job in page["data"]} == expected


def test_list_filters_by_time(submit, client):
    first, second = submit(seed=0), submit(seed=1)
    params = {"created_after": first["created_at"]}
    assert ids(client.get("/v1/jobs", params=params).json()) == [second["id"]]
    params = {"created_after": datetime.now(UTC).isoformat()}
    assert ids(client.get("/v1/jobs", params=params).json()) == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=many", "/limit"),
        (f"limit={'9' * 5000}", "/limit"),
        ("state=done", "/state"),
        ("state=queued&state=done", "/state"),
        ("sort=accuracy", "/sort"),
        ("after=", "/after"),
        ("after=bm90IGEgY3Vyc29y", "/after"),
        ("after=%00", "/after"),
        (f"after={'A' * 301}", "/after"),
        ("created_after=2026-01-01", "/created_after"),
        ("created_after=2026-01-01T00:00:00", "/created_after"),
        ("architecture=%00", "/architecture"),
        ("dataset=a%20b", "/dataset"),
        ("colour=red", "/colour"),
        ("label=red", "/label"),
        ("label[]=red", "/label[]"),
        ("label[a b]=red", "/label[a b]"),
        ("label[a]=%00", "/label[a]"),
        ("label[a]=1&label[a]=2", "/label[a]"),
        (f"label[a]={'x' * 513}", "/label[a]"),
        ("&".join(f"label[{i}]=x" for i in range(17)), "/label"),
    ],
)
def test_list_refuses_what_it_cannot_use(client, query, pointer):
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    error = answer.json()["errors"][0]
    assert (error["in"], error["pointer"]) == ("query", pointer)


def test_list_refuses_the_cursor_of_another_order(submit, client):
    submit(seed=0), submit(seed=1)
    cursor = client.get("/v1/jobs?limit=1").json()["next"]
    answer = client.get("/v1/jobs", params={"after": cursor, "sort": "created_at"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/after")


@pytest.mark.parametrize("table", ["transitions", "events", "plans", "outbox"])
def test_a_job_that_cannot_be_written_whole_is_not_written(client, asked, table):
    with transaction() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO away"))
    try:
        answer = client.post("/v1/jobs", json=asked, headers={"Idempotency-Key": table})
    finally:
        with transaction() as session:
            session.execute(text(f"ALTER TABLE away RENAME TO {table}"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert [count(t) for t in (Job, Transition, Event, PlanVersion, OutboxMessage)] == [0] * 5
    again = client.post("/v1/jobs", json=asked, headers={"Idempotency-Key": table})
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (202, False)
