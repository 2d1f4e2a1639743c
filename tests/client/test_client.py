"""The client reaches its end over bad connections and says clearly when it cannot."""

import json

import npas
import pytest
from npas_client import client as module
from npas_client import errors
from npas_client.client import Client

RUNNING = {"id": "job_1", "state": "running", "is_terminal": False, "progress": 0.5}
DONE = {"id": "job_1", "state": "succeeded", "is_terminal": True, "new_field": 1}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.0)


@pytest.fixture
def client(scripted):
    with Client(scripted.url) as connection:
        yield connection


@pytest.fixture
def answer(reply):
    """A reply of JSON."""
    return lambda value, **more: reply(body=json.dumps(value).encode(), **more)


@pytest.fixture
def events(reply):
    """A stream of events with these sequence numbers; torn ones end in the middle."""

    def make(*numbers, torn=False):
        lines = [f'id: {n}\nevent: e\ndata: {{"seq": {n}, "type": "e"}}\n\n' for n in numbers]
        body = "".join(["retry: 3000\n\n", *lines]).encode()
        kind = {"Content-Type": "text/event-stream"}
        return reply(body=body, headers=kind, promised=len(body) + 9 if torn else None)

    return make


def test_submit_keeps_its_key_while_it_tries_again(scripted, reply, answer, client):
    scripted.replies["/v1/jobs"] = [reply(hang_up=True), reply(status=503), answer(RUNNING)]
    assert client.submit({"budget": 1}).id == "job_1"
    keys = {request.headers["idempotency-key"] for request in scripted.requests}
    assert (len(scripted.requests), len(keys)) == (3, 1)


def test_plan_of_a_version_is_asked_for(scripted, answer, client):
    path, plan = "/v1/jobs/job_1/plan", npas.plan("resnet-8", method="dense")
    scripted.replies[path] = [answer(json.loads(plan.to_json()))]
    assert client.plan("job_1") == client.plan("job_1", version=2) == plan
    assert [request.path for request in scripted.seen(path)] == [path, f"{path}?version=2"]


def test_job_of_a_newer_service_is_taken_as_it_is(scripted, answer, client):
    spec = {"architecture": {"name": "resnet-8"}, "budget": {"fraction": 0.5}, "dataset": "digits"}
    scripted.replies["/v1/jobs/job_1"] = [answer(RUNNING | {"spec": spec})]
    assert client.get("job_1").spec == npas.JobSpec.model_validate(spec)
    newer = spec | {"urgency": 1}
    scripted.replies["/v1/jobs/job_2"] = [answer(RUNNING | {"spec": newer})]
    assert client.get("job_2").spec == newer


def test_submit_takes_a_new_key_each_time_unless_given_one(scripted, answer, client):
    scripted.replies["/v1/jobs"] = [answer(RUNNING)]
    client.submit({})
    client.submit({})
    client.submit({}, idempotency_key="mine")
    first, second, third = (request.headers["idempotency-key"] for request in scripted.requests)
    assert first != second
    assert third == "mine"


def test_refusals_are_not_tried_again(scripted, answer, client):
    body = {"code": "infeasible_budget", "detail": "too small", "minimum": 9}
    scripted.replies["/v1/jobs"] = [answer(body, status=422)]
    with pytest.raises(errors.InfeasibleBudgetError, match="too small"):
        client.submit({})
    assert len(scripted.requests) == 1


def test_a_service_that_stays_busy_is_an_error(scripted, answer, client):
    scripted.replies["/v1/jobs/job_1"] = [answer({"detail": "busy"}, status=503)]
    with pytest.raises(errors.UnavailableError, match="busy"):
        client.get("job_1")
    assert len(scripted.requests) == module.TRIES


def test_an_address_where_nothing_answers_is_an_error():
    with Client("http://127.0.0.1:9") as nobody:
        assert not nobody.is_ready()
        with pytest.raises(errors.UnreachableError, match=r"127\.0\.0\.1:9"):
            nobody.get("job_1")


def test_job_keeps_fields_it_does_not_know(scripted, answer, client):
    scripted.replies["/v1/jobs/job_1"] = [answer(DONE)]
    assert client.get("job_1").new_field == 1


def test_wait_returns_the_ended_job(scripted, answer, client):
    scripted.replies["/v1/jobs/job_1"] = [answer(RUNNING), answer(RUNNING), answer(DONE)]
    assert client.wait("job_1").state == "succeeded"


def test_wait_gives_up_in_time_and_says_that_the_job_goes_on(scripted, answer, client):
    scripted.replies["/v1/jobs/job_1"] = [answer(RUNNING)]
    with pytest.raises(TimeoutError, match="goes on"):
        client.wait("job_1", timeout=-1)


def test_watch_yields_each_event_once_over_broken_streams(scripted, reply, answer, events, client):
    scripted.replies["/v1/jobs/job_1"] = [answer(RUNNING), answer(RUNNING), answer(DONE)]
    scripted.replies["/v1/jobs/job_1/events"] = [
        events(1, 2, torn=True),
        reply(hang_up=True),
        events(2, 3),
        answer({"data": [{"seq": 4, "type": "e"}]}),
    ]
    assert [event.seq for event in client.watch("job_1")] == [1, 2, 3, 4]
    resumed = [r.headers.get("last-event-id") for r in scripted.seen("/v1/jobs/job_1/events")]
    assert resumed[:3] == ["0", "2", "2"]


def test_watch_of_no_job_is_an_error(client):
    with pytest.raises(errors.NotFoundError):
        next(client.watch("job_1"))


def test_jobs_follow_the_pages(scripted, answer, client):
    link = {"Link": f'<{scripted.url}/page2>; rel="next"'}
    scripted.replies["/v1/jobs"] = [answer({"data": [DONE, RUNNING]}, headers=link)]
    scripted.replies["/page2"] = [answer({"data": [DONE]})]
    states = [job.state for job in client.jobs(state="any")]
    assert states == ["succeeded", "running", "succeeded"]
    assert scripted.requests[0].path == "/v1/jobs?state=any"


def test_download_names_what_there_is(scripted, answer, client, tmp_path):
    listing = {"data": [{"name": "plan.json", "bytes": 1, "sha256": "0" * 64}]}
    scripted.replies["/v1/jobs/job_1/artifacts"] = [answer(listing)]
    with pytest.raises(errors.NotFoundError, match=r"plan\.json"):
        client.download("job_1", "model.safetensors", tmp_path / "x")


@pytest.fixture
def away(reply):
    """What a service does that is started again: longer than one request is tried."""
    return [reply(hang_up=True)] * (module.TRIES + 1) + [reply(status=503)] * module.TRIES


def test_wait_outlasts_a_restart_and_says_so(scripted, answer, client, away, caplog):
    scripted.replies["/v1/jobs/job_1"] = [answer(RUNNING), *away, answer(DONE)]
    assert client.wait("job_1").state == "succeeded"
    assert "waiting 600 s more" in caplog.text


def test_wait_keeps_its_time_while_the_service_is_away(scripted, client, away):
    scripted.replies["/v1/jobs/job_1"] = away
    with pytest.raises(TimeoutError, match="job_1 had not ended"):
        client.wait("job_1", timeout=-1)


def test_wait_loses_its_patience(scripted, away):
    scripted.replies["/v1/jobs/job_1"] = away
    with Client(scripted.url, patience=0) as client, pytest.raises(errors.UnreachableError):
        client.wait("job_1")


def test_watch_outlasts_a_restart(scripted, answer, events, client, away):
    scripted.replies["/v1/jobs/job_1"] = [answer(RUNNING), *away, answer(DONE)]
    scripted.replies["/v1/jobs/job_1/events"] = [
        events(1),
        *away,
        answer({"data": [{"seq": 2, "type": "e"}]}),
    ]
    assert [event.seq for event in client.watch("job_1")] == [1, 2]


def test_delete_tells_what_was_freed_and_why_it_may_not(scripted, answer, client):
    freed = {"files": 2, "bytes": 30}
    refusal = answer({"code": "job_not_ended", "detail": "cancel it first"}, status=409)
    scripted.replies["/v1/jobs/job_1"] = [refusal, answer({"id": "job_1", "freed": freed})]
    with pytest.raises(errors.ConflictError, match="cancel it first"):
        client.delete("job_1")
    assert client.delete("job_1").freed == freed
    assert {request.method for request in scripted.requests} == {"DELETE"}
