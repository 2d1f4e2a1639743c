"""What a queued job is told of its place: true for whoever claims next."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from npas_store import claims, jobs, queue_places, room, transitions, workers
from npas_store.database import reading, transaction
from npas_store.tables import Job
from sqlalchemy import func, update


def change(job, **values):
    with transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(values))


def place(job):
    with reading() as session:
        return queue_places.place(session, jobs.get(session, job.id))


def beat(**told):
    with transaction() as session:
        for name, trouble in told.items():
            workers.beat(session, name, trouble=trouble)


def claim(worker):
    with transaction() as session:
        return claims.claim(session, worker)


@settings(
    deadline=None,
    derandomize=True,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(priorities=st.lists(st.integers(-2, 2), min_size=1, max_size=6))
def test_position_counts_those_that_are_claimed_before(submit, priorities):
    with transaction() as session:
        session.query(Job).delete()
    queued = [submit() for _ in priorities]
    for job, priority in zip(queued, priorities, strict=True):
        change(job, priority=priority)
    positions = {job.id: place(job).position for job in queued}
    order = [claim("w").id for _ in queued]
    assert [positions[job_id] for job_id in order] == list(range(len(order)))


def test_position_leaves_out_those_that_pause(submit):
    paused, job = submit(), submit()
    change(paused, due_at=func.now() + timedelta(hours=1))
    assert place(job).position == 0


def test_a_job_that_is_not_queued_has_no_place(submit):
    job = submit()
    claim("w")
    assert place(job) is None


@pytest.mark.parametrize(
    ("present", "code", "words"),
    [
        ({}, "worker_absent", "a worker: none is present; start one"),
        ({"a": "no GPU", "b": "no disk"}, "worker_unfit", "of 2 present none is; a: no GPU"),
        ({"a": None, "b": "no disk"}, "turn", "a worker to take it"),
    ],
)
def test_what_is_waited_for_is_said(submit, present, code, words):
    job = submit()
    beat(**present)
    found = place(job)
    assert found.code == code
    assert words in found.waiting_for


def test_busy_workers_are_counted(submit):
    submit()
    submit()
    third = submit()
    beat(a=None, b=None, c="no GPU")
    claim("a")
    assert (place(third).code, place(third).position) == ("turn", 1)
    assert "1 can be taken before it, of 2 workers 1 is busy" in place(third).waiting_for
    claim("b")
    assert place(third).code == "worker_busy"
    assert "all 2 that could take it are busy" in place(third).waiting_for


def test_a_pause_after_a_loss_says_until_when(submit):
    job = submit()
    beat(a=None)
    held = claim("a")
    with transaction() as session:
        claims.lose(session, job.id, held.claim_number, transitions.reason("stalled", "it slept"))
    found = place(job)
    with reading() as session:
        until = jobs.get(session, job.id).due_at.isoformat(timespec="seconds")
    assert found.code == "pause"
    assert found.waiting_for == f"a pause after stalled, until {until}"


def test_a_job_for_which_no_disk_has_room_says_how_much_it_needs(submit):
    job = submit()
    with transaction() as session:
        needs = room.needed_bytes(session, job.id)
        workers.beat(session, "w", free_bytes=needs - 1)
    found = place(job)
    assert (found.code, claims_with(needs - 1)) == ("disk_full", None)
    assert f"{needs:,} bytes must be free, {needs - 1:,} are" in found.waiting_for
    with transaction() as session:
        workers.beat(session, "w", free_bytes=needs)
    assert place(job).code == "turn"


def claims_with(free_bytes):
    with transaction() as session:
        return claims.claim(session, "w", free_bytes=free_bytes)
