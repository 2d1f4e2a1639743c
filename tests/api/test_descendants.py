"""New jobs made of others: clones, retries and continuations."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import npas
import pytest
from npas_store import blobs, claims, plans, resume_files, transitions
from npas_store.database import reading, transaction
from npas_store.settings import settings
from npas_store.tables import Job, ResumeFile
from sqlalchemy import delete, func, select

pytestmark = pytest.mark.usefixtures("store")
NOBODY = f"/v1/jobs/job_{'0' * 32}"


def num_jobs():
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Job))


def column(job_id, name):
    with reading() as session:
        return getattr(session.get(Job, job_id), name)


@pytest.fixture
def end(claim):
    """Run the next job to an end without a network, leaving a resume file of some steps."""

    def to(state="failed", code="worker_lost", steps=()):
        job = claim()
        folder = resume_files.folder(job.id, job.claim_number)
        folder.mkdir(parents=True, exist_ok=True)
        for step in steps:
            draft = folder / f"draft{step}"
            draft.write_bytes(b"%d" % step)
            kept = resume_files.keep(job.id, job.claim_number, draft, step)
            with transaction() as session:
                resume_files.record(
                    session, job.id, job.claim_number, kept, blobs.measure(kept), step
                )
        with transaction() as session:
            why = transitions.reason(code, "gone")
            claims.finish(session, job.id, job.claim_number, state, message="over", why=why)
        return job.id

    return to


def test_clone_is_the_same_job_but_for_the_patch(submit, client, asked):
    parent = submit(labels={"team": "vision", "owner": "me"}, priority=3)
    client.patch(parent["urls"]["self"], json={"labels": {"owner": "you"}, "priority": 4})
    patch = {
        "budget": 74_000,
        "method": "soft_sharing",
        "training": {"epochs": 9},
        "labels": {"team": None},
    }
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = client.post(parent["urls"]["clone"], json=patch, headers=headers)
    job = answer.json()
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == job["urls"]["self"]
    assert (job["parent_id"], job["relation"], job["state"]) == (parent["id"], "clone", "queued")
    assert (job["method"], job["budget_parameters"]) == ("soft_sharing", 74_000)
    assert (job["labels"], job["priority"]) == ({"owner": "you"}, 4)
    assert job["spec"]["training"] == parent["spec"]["training"] | {"epochs": 9}
    kept = ("architecture", "dataset", "seed")
    assert {name: job["spec"][name] for name in kept} == {
        name: parent["spec"][name] for name in kept
    }
    event = client.get(job["urls"]["events"]).json()["data"][-1]
    assert (event["type"], event["message"]) == ("origin", f"clone of {parent['id']}")
    assert asked["labels"] == {"team": "vision"}


def test_clone_without_a_body_is_an_exact_copy(submit, client):
    parent = submit()
    job = client.post(parent["urls"]["clone"]).json()
    assert job["spec"] == parent["spec"]
    assert job["id"] != parent["id"]


def test_clone_can_have_other_networks(submit, client):
    networks = [{"name": name, "architecture": "resnet-8"} for name in ("one", "two")]
    patch = {"architecture": None, "networks": networks}
    job = client.post(submit()["urls"]["clone"], json=patch).json()
    assert job["architecture"] == "resnet-8 + resnet-8"


@pytest.mark.parametrize(
    ("patch", "code", "pointer"),
    [
        ({"budget": {"parameters": 5}}, "invalid_request", "/budget"),
        ({"architecture": None}, "invalid_request", ""),
        ({"trainings": {}}, "invalid_request", "/trainings"),
        ({"training": {"epochs": 0}}, "invalid_request", "/training/epochs"),
        ([], "invalid_request", ""),
        ({"budget": 10}, "infeasible_budget", "/budget"),
        ({"dataset": "cifar10"}, "dataset_unusable", "/dataset"),
        ({"start": {"checkpoint": "0" * 64}}, "start_unusable", "/start/checkpoint"),
    ],
)
def test_clone_is_checked_and_planned_as_a_new_job(submit, client, patch, code, pointer):
    answer = client.post(submit()["urls"]["clone"], json=patch)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code)
    assert problem["errors"][0]["pointer"] == pointer
    assert num_jobs() == 1


def test_clone_that_makes_no_request_says_that_a_patch_made_it(submit, client):
    problem = client.post(submit()["urls"]["clone"], json={"budget": {"parameters": 5}}).json()
    assert "with the patch applied, where null takes a member away" in problem["detail"]


@pytest.mark.parametrize("relation", ["clone", "retry", "continue"])
def test_what_is_made_of_no_job_is_not_found(client, relation):
    body = {"json": {"epochs": 1}} if relation == "continue" else {}
    answer = client.post(f"{NOBODY}/{relation}", **body)
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_key_makes_one_clone_also_when_its_parent_is_gone(submit, client):
    parent = submit()
    headers = {"Idempotency-Key": "one"}

    def clone(patch):
        return client.post(parent["urls"]["clone"], json=patch, headers=headers)

    first, again = clone({"seed": 1}), clone({"seed": 1})
    assert (first.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    other = clone({"seed": 2})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    with transaction() as session:
        session.execute(delete(Job).where(Job.id == parent["id"]))
    late = clone({"seed": 1})
    assert (late.status_code, late.json()["id"]) == (202, first.json()["id"])
    assert (late.json()["parent_id"], late.json()["relation"]) == (None, "clone")
    assert num_jobs() == 1


def test_key_of_a_clone_is_none_for_the_same_spec_sent_plainly(submit, client):
    parent, headers = submit(), {"Idempotency-Key": "one"}
    clone = client.post(parent["urls"]["clone"], headers=headers).json()
    answer = client.post("/v1/jobs", json=clone["spec"], headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_clone_while_its_parent_is_deleted_is_made_or_not_found(submit, client):
    parents = [submit() for _ in range(6)]

    def clone(parent):
        return client.post(parent["urls"]["clone"])

    def remove(parent):
        with transaction() as session:
            session.execute(delete(Job).where(Job.id == parent["id"]))

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(clone, parent) for parent in parents]
        for gone in [pool.submit(remove, parent) for parent in parents]:
            gone.result()
    statuses = [answer.result().status_code for answer in answers]
    assert set(statuses) <= {202, 404}
    assert num_jobs() == statuses.count(202)


def test_list_shows_what_was_made_of_a_job(submit, client):
    parent = submit()
    submit()
    made = [client.post(parent["urls"]["clone"]).json()["id"] for _ in range(2)]
    page = client.get("/v1/jobs", params={"parent": parent["id"]}).json()
    assert [job["id"] for job in page["data"]] == made[::-1]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_retry_goes_on_from_the_newest_files_that_are_kept(submit, client, end, state):
    parent = submit(labels={"who": "me"}, priority=5)
    end(state, steps=(7, 14))
    answer = client.post(parent["urls"]["retry"])
    job = answer.json()
    assert answer.status_code == 202, answer.text
    assert (job["parent_id"], job["relation"], job["spec"]) == (
        parent["id"],
        "retry",
        parent["spec"],
    )
    assert client.get(job["urls"]["plan"]).content == client.get(parent["urls"]["plan"]).content
    with transaction() as session:
        resume_files.expire(session, parent["id"])
        session.execute(delete(Job).where(Job.id == parent["id"]))
    with reading() as session:
        found = [(path.read_bytes(), n) for path, n in resume_files.usable(session, job["id"])]
    assert found == [(b"14", 14), (b"7", 7)]
    event = client.get(job["urls"]["events"]).json()["data"][-1]
    assert event["message"] == f"retry of {parent['id']}, after step 14"


def test_retry_of_files_that_are_gone_starts_anew(submit, client, end):
    parent = submit()
    end(steps=(7,))
    with transaction() as session:
        resume_files.expire(session, parent["id"])
    job = client.post(parent["urls"]["retry"]).json()
    with reading() as session:
        assert not resume_files.are_there(session, job["id"])
    assert client.get(job["urls"]["events"]).json()["data"][-1]["data"]["step"] is None


def test_retry_keeps_files_whose_folder_is_taken_for_that_of_no_job(submit, end):
    """As by retention, which sees the folder before the row."""
    parent, other = submit(), submit()
    end(steps=(7,))
    with transaction() as session:
        assert resume_files.adopt(session, parent["id"], other["id"]) == 7
        shutil.rmtree(settings().jobs / other["id"])
    with reading() as session:
        assert [step for _, step in resume_files.usable(session, other["id"])] == [7]


def test_retry_of_a_job_that_was_cut_short_goes_on(submit, client, end):
    parent = submit()
    end("succeeded", "timeout", steps=(7,))
    job = client.post(parent["urls"]["retry"]).json()
    assert client.get(job["urls"]["events"]).json()["data"][-1]["data"]["step"] == 7


def test_retry_of_an_outdated_plan_is_planned_anew(submit, client, end):
    parent = submit()
    end(code="plan_outdated", steps=(7,))
    with transaction() as session:
        plans.versions(session, parent["id"])[0].document = '{"of": "old"}'
    job = client.post(parent["urls"]["retry"]).json()
    assert client.get(job["urls"]["plan"]).json()["ledger"]["total"] == parent["parameters"]
    with reading() as session:
        assert not resume_files.are_there(session, job["id"])


def test_retry_keeps_what_losses_adjusted(submit, client, end):
    parent = submit()
    with transaction() as session:
        session.get(Job, parent["id"]).adjustments = {"micro_batches": 2}
    end()
    job = client.post(parent["urls"]["retry"]).json()
    assert column(job["id"], "adjustments") == {"micro_batches": 2}


def test_retries_at_once_under_one_key_are_one_job(submit, client, end):
    parent = submit()
    end(steps=(7,))

    def retry(number):
        key = {"Idempotency-Key": "one"} if number % 2 else {}
        return client.post(parent["urls"]["retry"], headers=key)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(retry, range(8)))
    made = {answer.json()["id"] for answer in answers}
    assert {answer.status_code for answer in answers} == {202}
    assert (len(made), num_jobs()) == (5, 6)
    with reading() as session:
        rows = session.scalars(select(ResumeFile).where(ResumeFile.job_id.in_(made))).all()
        assert len(rows) == 5
        assert all(len([*resume_files.usable(session, job_id)]) == 1 for job_id in made)


def test_retried_job_that_never_ran_is_cancelled_at_once(submit, client, end):
    parent = submit()
    end(steps=(7,))
    job = client.post(parent["urls"]["retry"]).json()
    assert client.post(job["urls"]["cancel"]).json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("state", "advice"), [("queued", "cancel ends it"), ("succeeded", "continue trains its")]
)
def test_retry_of_what_did_not_fail_is_a_conflict(submit, client, deliver, state, advice):
    parent = submit()
    if state != "queued":
        deliver(state)
    answer = client.post(parent["urls"]["retry"])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "job_state_conflict")
    assert problem["state"] == state
    assert advice in problem["detail"]
    assert num_jobs() == 1


@pytest.mark.parametrize("state", ["succeeded", "cancelled"])
def test_continue_starts_from_the_network_that_was_delivered(
    submit, client, deliver_network, state
):
    parent = submit(priority=2)
    _, sha256 = deliver_network(state)
    answer = client.post(parent["urls"]["continue"], json={"epochs": 5})
    job = answer.json()
    assert answer.status_code == 202, answer.text
    assert (job["parent_id"], job["relation"]) == (parent["id"], "continue")
    assert job["spec"]["start"]["checkpoint"] == sha256
    assert column(job["id"], "start_sha256") == sha256
    assert job["spec"]["training"] == parent["spec"]["training"] | {"epochs": 5}
    assert job["spec"]["budget"] == parent["spec"]["budget"]
    assert client.get(job["urls"]["plan"]).content == client.get(parent["urls"]["plan"]).content


def test_continue_with_another_budget_is_planned_anew(submit, client, deliver_network):
    parent = submit()
    _, sha256 = deliver_network()
    body = {"budget": {"fraction": 0.9}}
    job = client.post(parent["urls"]["continue"], json=body).json()
    assert job["spec"]["training"] == parent["spec"]["training"]
    assert job["budget_parameters"] > parent["budget_parameters"]
    assert job["spec"]["start"]["checkpoint"] == sha256


def test_continue_takes_the_winner_of_a_race(submit, client, deliver_network):
    parent = submit(method={"name": "auto", "methods": ["uniform", "ssn"]})
    with transaction() as session:
        won = npas.plan(
            "resnet-8", budget=parent["budget_parameters"], method="uniform", dataset="digits"
        )
        plans.record(session, parent["id"], 1, won.to_json())
    deliver_network()
    job = client.post(parent["urls"]["continue"], json={"epochs": 1}).json()
    assert job["spec"]["method"] == {"name": "uniform"}
    assert client.get(job["urls"]["plan"]).text == won.to_json()


@pytest.mark.parametrize("body", [{}, {"epochs": 0}, {"epochs": 1, "seed": 2}, {"budget": {}}])
def test_continue_refuses_what_it_cannot_use(submit, client, deliver_network, body):
    parent = submit()
    deliver_network()
    assert client.post(parent["urls"]["continue"], json=body).status_code == 422
    assert num_jobs() == 1


def test_continue_without_a_network_is_a_conflict(submit, client, end):
    parent = submit()
    wish = {"epochs": 1}
    waiting = client.post(parent["urls"]["continue"], json=wish)
    assert (waiting.status_code, waiting.json()["code"]) == (409, "job_state_conflict")
    assert "wait for its end" in waiting.json()["detail"]
    end()
    failed = client.post(parent["urls"]["continue"], json=wish)
    assert (failed.status_code, "retry it" in failed.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("is_there", "code"), [(False, "artifact_gone"), (True, "artifact_damaged")]
)
def test_continue_of_bytes_that_are_lost_says_so(submit, client, deliver_network, is_there, code):
    parent = submit()
    _, sha256 = deliver_network()
    path = blobs.path(sha256)
    path.unlink()
    if is_there:
        path.write_bytes(b"other")
    answer = client.post(parent["urls"]["continue"], json={"epochs": 1})
    assert (answer.status_code, answer.json()["code"]) == (410, code)
    again = client.post("/v1/jobs", json=parent["spec"] | {"start": {"checkpoint": sha256}})
    assert (again.status_code, again.json()["code"]) == (422, "start_unusable")


def test_any_job_may_start_from_a_file_that_was_delivered(submit, client, deliver_network):
    submit()
    _, sha256 = deliver_network()
    start = {"checkpoint": sha256}
    job = submit(start=start, seed=5)
    assert (column(job["id"], "start_sha256"), job["parent_id"]) == (sha256, None)
    other = client.post("/v1/jobs", json=job["spec"] | {"architecture": "resnet-14"})
    assert (other.status_code, other.json()["code"]) == (422, "start_unusable")
    assert "the checkpoint has no stages.0.1.conv1.weight" in other.json()["detail"]
