"""Who holds a job, and how it leaves their hands."""

import threading

import pytest
from npas_store import claims, events, jobs, transitions
from npas_store.database import reading, transaction
from npas_store.reaper import reap_once
from npas_store.settings import settings
from npas_store.tables import OutboxMessage, ResumeFile
from sqlalchemy import select, text

LOST = transitions.reason("worker_lost", "gone")


def claim(worker="w"):
    with transaction() as session:
        return claims.claim(session, worker)


def expire(job):
    with transaction() as session:
        session.execute(
            text("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"),
            {"id": job.id},
        )


def make_due(job):
    with transaction() as session:
        session.execute(text("UPDATE jobs SET due_at = now() WHERE id = :id"), {"id": job.id})


def reap(monkeypatch):
    """Reap with leases so short that Postgres has been up for longer than one."""
    monkeypatch.setenv("NPAS_LEASE_SECONDS", "0.001")
    settings.cache_clear()
    try:
        return reap_once()
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_claim_takes_the_longest_waiting_job(submit):
    first, second = submit(), submit()
    assert [claim().id, claim().id, claim()] == [first.id, second.id, None]


def test_claim_takes_the_highest_priority_then_the_longest_waiting(submit):
    first, second, third = submit(), submit(), submit()
    with transaction() as session:
        jobs.change(session, jobs.locked(session, second.id), labels={}, priority=1)
        jobs.change(session, jobs.locked(session, first.id), labels={}, priority=-1)
    assert [claim().id, claim().id, claim().id] == [second.id, third.id, first.id]


def test_claim_twice_second_gets_nothing(submit):
    submit()
    gate, claimed = threading.Barrier(8), []

    def race(name):
        gate.wait()
        claimed.append(claim(name))

    threads = [threading.Thread(target=race, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([job for job in claimed if job]) == 1


def test_claim_counts_epoch_and_attempt_and_says_who(submit):
    submit()
    job = claim("gpu0")
    assert (job.state, job.claim_number, job.attempt, job.lease_owner) == ("running", 1, 1, "gpu0")
    assert job.threads == settings().threads
    with reading() as session:
        (attempt,) = jobs.attempts(session, job.id)
        assert (attempt.worker, attempt.ended_at) == ("gpu0", None)


@pytest.mark.parametrize(
    "write",
    [
        lambda s, i: claims.beat(s, i, 1),
        lambda s, i: claims.guard(s, i, 1),
        lambda s, i: claims.is_cancel_requested(s, i, 1),
        lambda s, i: claims.report(s, i, 1, {"progress": 0.9}),
        lambda s, i: claims.resumed(s, i, 1, 7),
        lambda s, i: claims.finish(s, i, 1, "succeeded", message="zombie"),
        lambda s, i: claims.drain(s, i, 1),
        lambda s, i: claims.lose(s, i, 1, LOST),
    ],
)
def test_every_write_of_an_older_claim_is_refused(submit, write):
    job = submit()
    claim("old")
    with transaction() as session:
        claims.drain(session, job.id, 1)
    assert claim("new").claim_number == 2
    with pytest.raises(claims.LeaseLostError), transaction() as session:
        write(session, job.id)
    with reading() as session:
        found = jobs.get(session, job.id)
        assert (found.state, found.lease_owner, found.progress) == ("running", "new", 0.0)


def test_an_ended_job_cannot_end_again(submit):
    job = submit()
    claim()
    with transaction() as session:
        claims.finish(session, job.id, 1, "succeeded", message="done")
    with pytest.raises(claims.LeaseLostError), transaction() as session:
        claims.finish(session, job.id, 1, "failed", message="no")


def test_finish_keeps_the_result_and_its_columns(submit):
    job = submit()
    claim()
    result = {"accuracy": 0.75, "parameters": 900, "nll": float("inf")}
    with transaction() as session:
        claims.finish(session, job.id, 1, "succeeded", message="done", result=result)
    with reading() as session:
        found = jobs.get(session, job.id)
        assert (found.accuracy, found.parameters, found.progress) == (0.75, 900, 1.0)
        assert found.result == {"accuracy": 0.75, "parameters": 900, "nll": None}
        assert (found.lease_owner, found.lease_until) == (None, None)
        assert jobs.attempts(session, job.id)[0].outcome == "succeeded"


def test_drain_does_not_use_up_an_attempt(submit):
    job = submit()
    claim()
    with transaction() as session:
        claims.drain(session, job.id, 1)
    again = claim()
    assert (again.claim_number, again.attempt, again.losses) == (2, 1, 0)


def test_lose_waits_longer_each_time_and_gives_up_in_the_end(submit):
    job = submit()
    waits = []
    for claim_number in range(1, settings().max_attempts + 1):
        assert claim().claim_number == claim_number
        with transaction() as session:
            lost = claims.lose(session, job.id, claim_number, LOST)
        with reading() as session:
            waits.append(
                session.scalar(
                    text("SELECT extract(epoch FROM due_at - now()) FROM jobs WHERE id = :id"),
                    {"id": job.id},
                )
            )
        make_due(job)
    assert lost.state == "failed"
    assert lost.reason["code"] == "worker_lost"
    assert "10 losses" in lost.reason["message"]
    assert "the same request makes a new job" in lost.reason["hint"]
    assert 4 < waits[0] < 6 < 9 < waits[1] < 11
    assert max(waits) <= 600


def test_lose_counts_each_cause_by_itself(submit):
    job = submit()
    fault = transitions.reason("internal_error", "a fault of npas")
    for claim_number, why in enumerate([fault, LOST, fault, LOST, LOST, LOST], start=1):
        assert claim().claim_number == claim_number
        with transaction() as session:
            assert claims.lose(session, job.id, claim_number, why).state == "queued"
        make_due(job)
    claim()
    with transaction() as session:
        lost = claims.lose(session, job.id, 7, fault)
    assert (lost.state, lost.reason["code"], lost.losses) == ("failed", "internal_error", 7)
    assert "3 losses" in lost.reason["message"]


def test_lost_job_is_not_claimed_before_it_is_due(submit):
    job = submit()
    claim()
    with transaction() as session:
        claims.lose(session, job.id, 1, LOST)
    assert claim() is None
    make_due(job)
    assert claim().claim_number == 2


def test_lost_job_whose_end_was_asked_for_is_cancelled(submit):
    job = submit()
    claim()
    with transaction() as session:
        jobs.request_cancel(session, job.id)
    with transaction() as session:
        lost = claims.lose(session, job.id, 1, LOST)
    assert (lost.state, lost.reason["code"]) == ("cancelled", "user_cancelled")


@pytest.fixture
def saved():
    """Register a resume file of a job's first claim."""

    def save(job):
        row = ResumeFile(
            job_id=job.id, claim_number=1, step=9, path=f"{job.id}/9", bytes=1, sha256="0" * 64
        )
        with transaction() as session:
            session.add(row)

    return save


def lose(session, job):
    return claims.lose(session, job.id, job.claim_number, LOST)


def drain(session, job):
    return claims.drain(session, job.id, job.claim_number)


@pytest.mark.parametrize("leave", [lose, drain])
def test_cancelled_job_whose_worker_leaves_waits_to_be_delivered(submit, saved, leave):
    job = submit()
    claimed = claim()
    saved(job)
    with transaction() as session:
        jobs.request_cancel(session, job.id)
    with transaction() as session:
        left = leave(session, claimed)
    assert (left.state, left.reason["code"]) == ("queued", "user_cancelled")
    assert "deliver the best network" in left.reason["message"]
    make_due(job)
    again = claim("second")
    assert (again.state, again.claim_number, again.reason["code"]) == (
        "cancelling",
        2,
        "user_cancelled",
    )
    with transaction() as session:
        assert claims.beat(session, job.id, 2) is True


def test_cancelled_job_that_is_lost_too_often_ends_without_a_network(submit, saved):
    job = submit()
    saved(job)
    for _ in range(1 + settings().max_attempts):
        claimed = claim()
        with transaction() as session:
            jobs.request_cancel(session, job.id)
            lost = claims.lose(session, job.id, claimed.claim_number, LOST)
        make_due(job)
    assert (lost.state, lost.reason["code"]) == ("cancelled", "user_cancelled")
    assert "without a network" in lost.reason["message"]


@pytest.mark.parametrize("cause", ["worker_lost", "internal_error"])
def test_cancel_leaves_a_delivery_its_chances_after_the_last_loss_of_the_training(
    submit, saved, cause
):
    why = transitions.reason(cause, "gone")
    most = settings().max_attempts if cause == "worker_lost" else 3
    job = submit()
    saved(job)
    for number in range(1, most + 1):
        claimed = claim()
        with transaction() as session:
            if number == most:
                jobs.request_cancel(session, job.id)
            lost = claims.lose(session, job.id, claimed.claim_number, why)
        make_due(job)
    assert (lost.state, lost.reason["code"]) == ("queued", "user_cancelled")
    assert claim().state == "cancelling"


def test_cancel_in_the_pause_after_a_loss_has_the_network_delivered(submit, saved):
    job = submit()
    claim()
    saved(job)
    with transaction() as session:
        claims.lose(session, job.id, 1, LOST)
    for _ in range(2):
        with transaction() as session:
            found = jobs.request_cancel(session, job.id)
        assert (found.state, found.reason["code"]) == ("queued", "user_cancelled")
    again = claim("second")  # at once: there is nothing to wait for
    assert (again.id, again.state) == (job.id, "cancelling")


def test_cancel_after_a_loss_that_saved_nothing_ends_the_job(submit):
    job = submit()
    claim()
    with transaction() as session:
        claims.lose(session, job.id, 1, LOST)
    with transaction() as session:
        assert jobs.request_cancel(session, job.id).state == "cancelled"
    with reading() as session:
        assert events.after(session, job.id)[-1].message == "cancelled before a network was saved"


def test_reaper_takes_only_what_ran_out(submit, monkeypatch):
    silent, alive = submit(), submit()
    claim("silent")
    claim("alive")
    expire(silent)
    assert [reap(monkeypatch), reap(monkeypatch)] == [1, 0]
    with reading() as session:
        assert jobs.get(session, silent.id).state == "queued"
        assert jobs.get(session, silent.id).reason["code"] == "worker_lost"
        assert jobs.get(session, alive.id).state == "running"
        assert silent.id in session.scalars(select(OutboxMessage.job_id)).all()
        assert events.after(session, silent.id)[-1].level == "warning"


def test_reaper_ends_a_silent_job_whose_end_was_asked_for(submit, monkeypatch):
    job = submit()
    claim()
    with transaction() as session:
        jobs.request_cancel(session, job.id)
    expire(job)
    assert reap(monkeypatch) == 1
    with reading() as session:
        assert jobs.get(session, job.id).state == "cancelled"


def test_reaper_gives_workers_a_lease_of_time_after_postgres_started(submit):
    job = submit()
    claim()
    expire(job)
    with reading() as session:
        up = session.scalar(text("SELECT now() - pg_postmaster_start_time()"))
    assert (reap_once() == 0) == (up.total_seconds() < settings().lease_seconds)
