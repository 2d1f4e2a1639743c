"""A job's events, as a list and as a stream."""

import json
from contextlib import contextmanager

import pytest
from npas_api import events as api_events
from npas_store import claims, events, metrics
from npas_store.database import transaction

pytestmark = pytest.mark.usefixtures("store")

STREAM = {"Accept": "text/event-stream"}


def tell(job_id, *messages):
    with transaction() as session:
        for message in messages:
            events.append(session, job_id, "note", message, {"said": message})


def blocks(response):
    """Yield the blocks of a stream as dicts of their fields, comments under ""."""
    block = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            block[name] = value.removeprefix(" ")
        elif block:
            yield block
            block = {}


@contextmanager
def streaming(client, job_id, query="", **headers):
    url = f"/v1/jobs/{job_id}/events{query}"
    with client.stream("GET", url, headers={**STREAM, **headers}) as response:
        yield response


def read(client, job_id, query="", **headers):
    """Read a stream to its end."""
    with streaming(client, job_id, query, **headers) as response:
        assert response.status_code == 200, response.read()
        return list(blocks(response))


def seqs(stream):
    return [int(block["id"]) for block in stream if "id" in block]


def test_list_pages_through_all_events_once(submit, client):
    job_id = submit()["id"]
    tell(job_id, *"abcdef")
    seen, url = [], f"/v1/jobs/{job_id}/events?limit=3"
    while url:
        answer = client.get(url)
        seen += [event["seq"] for event in answer.json()["data"]]
        url = answer.links.get("next", {}).get("url")
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_list_starts_after_a_seq(submit, client):
    job_id = submit()["id"]
    tell(job_id, "a", "b")
    page = client.get(f"/v1/jobs/{job_id}/events?after=2").json()
    assert [event["message"] for event in page["data"]] == ["b"]
    assert page["data"][0]["data"] == {"said": "b"}
    assert (page["has_more"], page["next"]) == (False, None)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("after=-1", "/after"),
        (f"after={2**31}", "/after"),
        ("after=x", "/after"),
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("before=1", "/before"),
        ("type=A", "/type"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_events_refuse_what_they_cannot_use(submit, client, query, pointer, accept):
    job_id = submit()["id"]
    answer = client.get(f"/v1/jobs/{job_id}/events?{query}", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize("last", ["-1", "x", "9" * 30])
def test_stream_refuses_an_id_that_it_never_gave(submit, client, last):
    job_id = submit()["id"]
    answer = client.get(f"/v1/jobs/{job_id}/events", headers={**STREAM, "Last-Event-ID": last})
    error = answer.json()["errors"][0]
    assert (answer.status_code, error["in"], error["pointer"]) == (422, "header", "/last-event-id")


def test_events_of_some_types_are_listed_and_streamed(submit, deliver, client):
    job_id = submit()["id"]
    tell(job_id, *"abcdef")
    with transaction() as session:
        metrics.record(session, job_id, {"stage": "train", "epoch": 1, "epochs": 2})
    deliver(accuracy=0.5)
    url = f"/v1/jobs/{job_id}/events?type=state&type=metrics"
    listed = client.get(url).json()
    assert [event["type"] for event in listed["data"]] == ["state", "metrics", "state", "state"]
    assert listed["data"][1]["data"] == {"stage": "train", "epoch": 1, "epochs": 2}
    pages = client.get(f"{url}&limit=2")
    assert "type=state&type=metrics" in pages.links["next"]["url"]
    following = client.get(pages.links["next"]["url"]).json()["data"]
    assert pages.json()["data"] + following == listed["data"]
    seen = seqs(read(client, job_id, "?type=state&type=metrics"))
    assert seen == [event["seq"] for event in listed["data"]] == [1, 8, 9, 10]
    with streaming(client, job_id, "?type=metrics&after=8") as response:
        assert response.status_code == 204


def test_stream_of_an_ended_job_tells_all_and_closes(submit, deliver, client):
    job_id = submit()["id"]
    tell(job_id, "a")
    deliver(accuracy=0.5)
    with streaming(client, job_id) as response:
        stream = list(blocks(response))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert stream[0]["retry"] == "3000"
    assert seqs(stream) == [1, 2, 3, 4]
    listed = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert [json.loads(block["data"]) for block in stream if "id" in block] == listed
    assert stream[-1] == {"event": "end", "data": '{"state": "succeeded"}'}


def test_stream_resumes_after_the_last_event_heard(submit, deliver, client):
    job_id = submit()["id"]
    deliver(accuracy=0.5)
    assert seqs(read(client, job_id, "?after=1")) == [2, 3]
    assert seqs(read(client, job_id, **{"Last-Event-ID": "2"})) == [3]
    assert seqs(read(client, job_id, "?after=0", **{"Last-Event-ID": "2"})) == [3]


def test_stream_after_the_end_is_204(submit, deliver, client):
    job_id = submit()["id"]
    deliver(accuracy=0.5)
    last = seqs(read(client, job_id))[-1]
    for query, headers in (("", {"Last-Event-ID": str(last)}), (f"?after={last}", {})):
        with streaming(client, job_id, query, **headers) as response:
            assert response.status_code == 204
            assert response.read() == b""


def test_stream_of_no_job_is_404(client):
    with streaming(client, f"job_{'0' * 32}") as response:
        assert response.status_code == 404
        assert json.loads(response.read())["code"] == "job_not_found"


def test_stream_tells_what_happens_while_it_is_open(submit, claim, client):
    job_id = submit()["id"]
    with streaming(client, job_id) as response:
        stream = blocks(response)
        assert next(stream)["retry"] == "3000"
        assert next(stream)["id"] == "1"
        tell(job_id, "live")
        assert json.loads(next(stream)["data"])["message"] == "live"
        job = claim()
        with transaction() as session:
            claims.finish(session, job.id, job.claim_number, "failed", message="broke")
        rest = list(stream)
    assert seqs(rest) == [3, 4]
    assert rest[-1] == {"event": "end", "data": '{"state": "failed"}'}


def test_stream_sends_more_events_than_it_reads_at_once(submit, deliver, client):
    job_id = submit()["id"]
    tell(job_id, *map(str, range(250)))
    deliver(accuracy=0.5)
    assert seqs(read(client, job_id)) == list(range(1, 254))


def test_stream_pings_while_nothing_happens(submit, client, monkeypatch):
    monkeypatch.setattr(api_events, "PING_SECONDS", 0.1)
    job_id = submit()["id"]
    with streaming(client, job_id) as response:
        stream = blocks(response)
        assert [next(stream) for _ in range(2)][1]["id"] == "1"
        assert [next(stream) for _ in range(3)] == [{"": "ping"}] * 3
