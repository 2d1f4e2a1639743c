"""Jobs as their users see them."""

import json
import re
from pathlib import Path

import pytest
from npas.spec import JobSpec
from npas_store import claims, events, idempotency, jobs, listings, plans
from npas_store.database import reading, transaction
from npas_store.json_values import fingerprint
from npas_store.tables import Job, OutboxMessage, new_id
from sqlalchemy import select


def test_ids_sort_by_time_and_are_version_7():
    made = [new_id("job") for _ in range(3)]
    assert all(re.fullmatch(r"job_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", i) for i in made)
    assert made[0][:14] <= made[1][:14] <= made[2][:14]


def test_create_writes_job_history_plan_and_bell_together(submit):
    job = submit()
    with reading() as session:
        found = jobs.get(session, job.id)
        assert (found.state, found.method, found.dataset) == ("queued", "dense", "digits")
        assert (found.budget_parameters, found.dense_parameters) == (1000, 4000)
        assert (found.minimum_parameters, found.parameters) == (500, 990)
        assert found.labels == {"team": "vision"}
        assert [t.to_state for t in listings.histories(session, [job.id])[job.id]] == ["queued"]
        assert [e.type for e in events.after(session, job.id)] == ["state"]
        (plan,) = plans.versions(session, job.id)
        assert (plan.version, plan.document) == (0, '{"b": 1,  "a": 2}')
        assert session.scalars(select(OutboxMessage.job_id)).all() == [job.id]


@pytest.mark.usefixtures("store")
def test_create_that_fails_leaves_nothing(spec):
    with pytest.raises(AttributeError), transaction() as session:
        jobs.create(session, spec, object())
    with reading() as session:
        assert session.scalars(select(Job)).all() == []


def test_spec_comes_back_as_it_went_in(submit, spec):
    stored = json.dumps(submit().spec)
    assert JobSpec.model_validate_json(stored) == spec


def test_create_with_a_used_key_returns_the_first_job(submit):
    first, second, other = submit("a"), submit("a"), submit("b")
    assert first.id == second.id != other.id
    assert first.request_fingerprint == other.request_fingerprint
    with reading() as session:
        assert idempotency.known(session, "a").resource == first.id
        assert len(listings.histories(session, [first.id])[first.id]) == 1


@pytest.mark.usefixtures("store")
def test_get_names_the_job_that_is_missing():
    with reading() as session, pytest.raises(jobs.NoSuchJobError, match="job_0"):
        jobs.get(session, "job_0")


def test_cancel_of_a_queued_job_ends_it_at_once(submit):
    job = submit()
    for _ in range(2):
        with transaction() as session:
            found = jobs.request_cancel(session, job.id)
        assert (found.state, found.reason["code"]) == ("cancelled", "user_cancelled")
        assert found.finished_at is not None
        assert found.reason["message"] == "cancelled before it started"
        assert "the same request makes a new job" in found.reason["hint"]
    with transaction() as session:
        assert claims.claim(session, "w") is None
        assert len(listings.histories(session, [job.id])[job.id]) == 2


def test_cancel_of_a_running_job_waits_for_its_worker(submit):
    job = submit()
    with transaction() as session:
        claims.claim(session, "w")
    for _ in range(2):
        with transaction() as session:
            assert jobs.request_cancel(session, job.id).state == "cancelling"
    with transaction() as session:
        assert claims.beat(session, job.id, 1) is True


def test_cancel_of_an_ended_job_changes_nothing(submit):
    job = submit()
    with transaction() as session:
        claims.claim(session, "w")
        claims.finish(session, job.id, 1, "succeeded", message="done", result={"accuracy": 0.5})
    with transaction() as session:
        assert jobs.request_cancel(session, job.id).state == "succeeded"


def test_events_are_numbered_without_gaps_and_read_from_any_point(submit):
    job = submit()
    with transaction() as session:
        for n in range(3):
            events.append(session, job.id, "note", str(n), {"loss": float("nan")})
    with reading() as session:
        assert [e.seq for e in events.after(session, job.id)] == [1, 2, 3, 4]
        assert [e.message for e in events.after(session, job.id, 2, 1)] == ["1"]
        assert events.after(session, job.id, 2)[0].data == {"loss": None}


def test_reading_cannot_write(submit):
    job = submit()
    from sqlalchemy.exc import InternalError

    with reading() as session, pytest.raises(InternalError, match="read-only"):
        events.append(session, job.id, "note", "no")


class LaterSpec(JobSpec):
    """A request as a later release reads it: an option more, and another default."""

    seed: int = 5
    clip_norm: float | None = 1.0


EARLIER = json.loads((Path(__file__).parents[1] / "run/kept/requests.json").read_text())
"""Requests as the first release stored them."""


def test_key_of_the_first_release_is_known(submit):
    kept = EARLIER["small"]
    made = submit("a")
    with transaction() as session:
        job = jobs.get(session, made.id)
        job.spec, job.request_fingerprint = kept["stored"], kept["fingerprint"]
        text = json.dumps(kept["stored"])
        asked = JobSpec.model_validate_json(text)
        assert jobs.is_asked_by(job, asked)
        assert jobs.is_asked_by(job, LaterSpec.model_validate_json(text))
        assert not jobs.is_asked_by(job, asked.model_copy(update={"seed": 1}))


@pytest.mark.parametrize(("stored", "is_same"), [("superweights", True), ("ssn", False)])
def test_key_of_the_first_release_without_a_method_means_what_it_meant(submit, stored, is_same):
    made, words = submit("a"), dict(EARLIER["defaults"]["stored"])
    del words["method"]
    asked = JobSpec.model_validate_json(json.dumps(words))
    with transaction() as session:
        job = jobs.get(session, made.id)
        job.spec = words | {"method": {"name": stored}}
        assert not jobs.is_asked_by(job, asked)  # as a later release, it is known by its words
        job.request_fingerprint = fingerprint(job.spec)
        assert jobs.is_asked_by(job, asked) == is_same


def test_key_is_known_after_a_release_that_changes_a_default(submit, spec):
    job = submit("a")
    asked = spec.model_dump(mode="json", exclude_unset=True)
    assert jobs.is_asked_by(job, LaterSpec.model_validate_json(json.dumps(asked)))
    assert not jobs.is_asked_by(
        job, LaterSpec.model_validate_json(json.dumps(asked | {"seed": 1}))
    )


def test_key_of_a_request_that_is_no_longer_valid_is_another(submit, spec):
    job = submit("a")
    job.spec = {**job.spec, "forgotten": 1}
    assert not jobs.is_asked_by(job, spec.model_copy(update={"seed": 1}))


def test_change_counts_revisions_of_what_is_otherwise(submit):
    job = submit()
    with transaction() as session:
        row = jobs.locked(session, job.id)
        jobs.change(session, row, labels=row.labels, priority=row.priority)
        assert row.revision == 0
        jobs.change(session, row, labels={"a": "b"}, priority=3)
        jobs.change(session, row, labels={"a": "b"}, priority=3)
    with reading() as session:
        row = jobs.get(session, job.id)
        assert (row.labels, row.priority, row.revision) == ({"a": "b"}, 3, 1)
        assert [each.type for each in events.after(session, job.id)] == ["state", "changed"]
