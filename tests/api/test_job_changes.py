"""PATCH: labels and priority as a merge patch; If-Match keeps changes of two people apart."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from npas_api import preconditions
from npas_store.database import transaction
from npas_store.tables import Job

pytestmark = pytest.mark.usefixtures("store")
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def test_patch_merges_labels_and_sets_the_priority(submit, client):
    job = submit(labels={"team": "vision", "owner": "me"})
    url = job["urls"]["self"]
    patch = {"labels": {"stage": "candidate", "team": None}, "priority": 10}
    answer = client.patch(url, json=patch, headers=MERGE_PATCH)
    assert answer.status_code == 200
    changed = answer.json()
    assert changed["labels"] == {"owner": "me", "stage": "candidate"}
    assert (changed["priority"], changed["revision"]) == (10, 1)
    assert changed["spec"] == job["spec"]
    assert client.get(url).json() == changed
    found = client.get("/v1/jobs", params={"label[stage]": "candidate"}).json()["data"]
    assert [each["id"] for each in found] == [job["id"]]
    event = client.get(job["urls"]["events"]).json()["data"][-1]
    assert (event["type"], event["data"]["priority"]) == ("changed", 10)


@pytest.mark.parametrize(
    ("patch", "labels", "priority"),
    [
        ({}, {"team": "vision"}, 7),
        ({"labels": {}}, {"team": "vision"}, 7),
        ({"labels": None}, {}, 7),
        ({"labels": {"nobody": None}}, {"team": "vision"}, 7),
        ({"priority": None}, {"team": "vision"}, 0),
        ({"priority": -100}, {"team": "vision"}, -100),
    ],
)
def test_patch_follows_the_rules_of_merging(submit, client, patch, labels, priority):
    url = submit(priority=7)["urls"]["self"]
    changed = client.patch(url, json=patch).json()
    assert (changed["labels"], changed["priority"]) == (labels, priority)


def test_patch_of_an_ended_job_changes_no_more_than_that(submit, deliver, client):
    url = submit()["urls"]["self"]
    deliver(accuracy=0.75, parameters=50_000)
    before = client.get(url).json()
    changed = client.patch(url, json={"labels": {"best": "yes"}}).json()
    assert changed["labels"] == {"team": "vision", "best": "yes"}
    kept = before.keys() - {"labels", "revision"}
    assert {name: changed[name] for name in kept} == {name: before[name] for name in kept}


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"priority": 101}, "/priority"),
        ({"priority": 1.5}, "/priority"),
        ({"labels": {"two words": "x"}}, "/labels/two words"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"labels": {f"k{number}": "x" for number in range(16)}}, "/labels"),
        ({"seed": 1}, "/seed"),
        ([], ""),
    ],
)
def test_patch_refuses_what_it_cannot_use_and_changes_nothing(submit, client, patch, pointer):
    url = submit()["urls"]["self"]
    answer = client.patch(url, json=patch)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert client.get(url).json()["revision"] == 0


def test_patch_refuses_other_media_types(submit, client):
    headers = {"Content-Type": "application/json-patch+json"}
    answer = client.patch(submit()["urls"]["self"], content=b"[]", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "application/merge-patch+json" in answer.headers["Accept"]


def test_patch_of_no_job_is_not_found(client):
    answer = client.patch(f"/v1/jobs/job_{'0' * 32}", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_etag_names_the_version_of_what_users_change(submit, claim, client):
    url = submit()["urls"]["self"]
    seen = client.get(url)
    assert (seen.headers["ETag"], seen.headers["Cache-Control"]) == ('"0"', "no-store")
    claim()
    assert client.get(url).headers["ETag"] == seen.headers["ETag"]
    changed = client.patch(url, json={"priority": 1}, headers={"If-Match": '"0"'})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"1"')
    late = client.patch(url, json={"priority": 2}, headers={"If-Match": '"0"'})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert late.headers["ETag"] == '"1"'
    assert late.json()["errors"][0] == {
        "in": "header",
        "pointer": "/if-match",
        "code": "precondition_failed",
        "message": late.json()["detail"],
    }
    assert client.get(url).json()["priority"] == 1


@pytest.mark.parametrize("given", ["*", '"7", "0"', 'W/"0","0"'])
def test_if_match_that_holds(submit, client, given):
    url = submit()["urls"]["self"]
    assert client.patch(url, json={"priority": 1}, headers={"If-Match": given}).status_code == 200


@pytest.mark.parametrize(
    ("given", "status"), [('W/"0"', 412), ('"00"', 412), ("0", 400), ("", 400), ('"0', 400)]
)
def test_if_match_that_does_not_hold(submit, client, given, status):
    url = submit()["urls"]["self"]
    answer = client.patch(url, json={"priority": 1}, headers={"If-Match": given})
    assert answer.status_code == status
    assert client.get(url).json()["priority"] == 0


def test_of_changes_to_one_version_one_is_made(submit, client):
    url = submit()["urls"]["self"]

    def change(priority):
        return client.patch(url, json={"priority": priority}, headers={"If-Match": '"0"'})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(change, range(1, 17)))
    (made,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 15
    assert client.get(url).json()["priority"] == made["priority"]


def test_changes_at_once_without_if_match_are_all_made(submit, client):
    url = submit(labels={})["urls"]["self"]

    def change(number):
        return client.patch(url, json={"labels": {f"k{number}": "x"}}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(change, range(16))) == {200}
    assert client.get(url).json()["labels"] == {f"k{number}": "x" for number in range(16)}


def test_tag_is_of_the_revision_alone(submit):
    with transaction() as session:
        job = session.get(Job, submit()["id"])
        before, job.progress = preconditions.tag(job), 0.5
        assert preconditions.tag(job) == before
        job.revision += 1
        assert preconditions.tag(job) != before
