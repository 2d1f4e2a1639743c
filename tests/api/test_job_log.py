"""GET /v1/jobs/{id}/log."""

import pytest
from npas_store import claims, logs, resume_files, transitions
from npas_store.database import transaction
from sqlalchemy import text


@pytest.fixture
def job_id(submit, claim):
    """A job that was lost once, and is trained again; both trainings said something."""
    made = submit()["id"]
    claim()
    said(made, 1, "one\ntwo\n")
    with transaction() as session:
        claims.lose(session, made, 1, transitions.reason("worker_lost", "gone"))
        session.execute(text("UPDATE jobs SET due_at = now()"))
    claim()
    said(made, 2, "three\nfour\n")
    return made


def said(job_id, claim_number, words, most_bytes=1000):
    resume_files.folder(job_id, claim_number).mkdir(parents=True, exist_ok=True)
    file = logs.LogFile(job_id, claim_number, most_bytes=most_bytes)
    file.write(words.encode())
    file.close()


def lines(answer):
    """The text without the times in its headings."""
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return [
        line if not line.startswith("===") else f"{line.split(',')[0]}: {line.split(': ')[-1]}"
        for line in answer.text.splitlines()
    ]


def test_log_has_all_claims_in_order(client, job_id):
    answer = client.get(f"/v1/jobs/{job_id}/log")
    assert answer.status_code == 200
    assert lines(answer) == [
        *("=== claim 1 by a test: worker_lost ===", "one", "two"),
        *("=== claim 2 by a test: goes on ===", "three", "four"),
    ]
    assert client.get(f"/v1/jobs/{job_id}").json()["urls"]["log"] == f"/v1/jobs/{job_id}/log"


def test_log_of_one_claim(client, job_id):
    answer = client.get(f"/v1/jobs/{job_id}/log", params={"claim": 1})
    assert lines(answer) == ["=== claim 1 by a test: worker_lost ===", "one", "two"]
    problem = client.get(f"/v1/jobs/{job_id}/log", params={"claim": 3}).json()
    assert (problem["code"], problem["status"]) == ("claim_not_found", 404)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ["four"]),
        (2, ["=== claim 2 by a test: goes on ===", "three", "four"]),
        (3, ["two", "=== claim 2 by a test: goes on ===", "three", "four"]),
    ],
)
def test_log_ends_with_the_last_lines(client, job_id, count, expected):
    assert lines(client.get(f"/v1/jobs/{job_id}/log", params={"tail": count})) == expected


def test_log_can_be_followed(client, job_id):
    answer = client.get(f"/v1/jobs/{job_id}/log", params={"tail": 1})
    following = answer.links["next"]["url"]
    assert "tail" not in following
    again = client.get(following)
    assert (again.text, again.links["next"]["url"]) == ("", following)
    with (resume_files.folder(job_id, 2).with_suffix(".log")).open("ab") as more:
        more.write(b"five\n")
    answer = client.get(following)
    assert answer.text == "five\n"
    with transaction() as session:
        claims.finish(session, job_id, 2, "succeeded", message="done")
    assert client.get(answer.links["next"]["url"]).text == ""


def test_log_says_what_is_no_longer_kept(client, job_id):
    logs.delete_logs(job_id)
    assert lines(client.get(f"/v1/jobs/{job_id}/log")) == [
        "=== claim 1 by a test: worker_lost ===",
        "=== claim 2 by a test: goes on ===",
    ]
    file = logs.LogFile(job_id, 2, most_bytes=20)
    for word in ("dropped..", "kept.....", "kept too."):
        file.write(word.encode())
    file.close()
    told = lines(client.get(f"/v1/jobs/{job_id}/log", params={"claim": 2}))
    assert told[1:] == ["... 9 bytes before this are not kept", "kept.....kept too."]


def test_log_is_text_whatever_was_written(client, job_id):
    with (resume_files.folder(job_id, 2).with_suffix(".log")).open("ab") as more:
        more.write(b"\xff\xc3")
    assert client.get(f"/v1/jobs/{job_id}/log").text.endswith("four\n\ufffd\ufffd")


def test_log_of_a_job_that_waits_is_empty(client, submit):
    job_id = submit()["id"]
    answer = client.get(f"/v1/jobs/{job_id}/log")
    assert (answer.status_code, answer.text) == (200, "")
    assert client.get(answer.links["next"]["url"]).text == ""


@pytest.mark.parametrize(
    "query", ["after=x", "after=../../id", "tail=0", "claim=0", "claim=1.5", "path=/etc/passwd"]
)
def test_log_refuses_what_is_no_place_in_it(client, job_id, query):
    answer = client.get(f"/v1/jobs/{job_id}/log?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_log_is_text_alone(client, job_id):
    url = f"/v1/jobs/{job_id}/log"
    refused = client.get(url, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
    assert client.get(f"/v1/jobs/job_{'0' * 32}/log").json()["code"] == "job_not_found"
