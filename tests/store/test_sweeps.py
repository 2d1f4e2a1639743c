"""Sweeps in the store: all jobs or none, one state of many, cancelled as one."""

import threading
import time
from types import SimpleNamespace

import psycopg
import pytest
from npas.spec.sweep import SweepSpec
from npas_store import (
    claims,
    homes,
    idempotency,
    jobs,
    lineage,
    listings,
    sweep_views,
    sweeps,
)
from npas_store.database import engine, reading, transaction
from npas_store.tables import Event, Job, OutboxMessage, PlanVersion, Sweep, Transition
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

TABLES = (Sweep, Job, PlanVersion, Transition, Event, OutboxMessage)
ASKED = {
    "architectures": ["resnet-8"],
    "budgets": [1000, 2000],
    "methods": ["ssn", "uniform"],
    "seeds": [0, 1],
    "dataset": "digits",
    "labels": {"team": "vision"},
}


@pytest.fixture
def asked():
    return SweepSpec.model_validate(ASKED)


@pytest.fixture
def children(asked, small_plan):
    return [
        sweeps.Child(point=point, spec=asked.job(point), plan=small_plan)
        for point in asked.points()
    ]


@pytest.fixture
def made(store, asked, children):
    """The id of a sweep of 10 jobs."""
    assert store.is_dir()
    with transaction() as session:
        return sweeps.submit(session, asked, children)[0]


def count():
    with reading() as session:
        return [session.scalar(select(func.count()).select_from(table)) for table in TABLES]


def summary(sweep_id):
    with reading() as session:
        sweep = sweeps.lookup(session, sweep_id)
        return sweep_views.summaries(session, [sweep])[sweep_id]


def claim():
    with transaction() as session:
        return claims.claim(session, "w")


def end(job, state="succeeded", **report):
    with transaction() as session:
        claims.finish(session, job.id, job.claim_number, state, message="done", result=report)


def test_submit_makes_all_jobs_in_the_order_of_their_points(made, asked):
    assert count() == [1, 10, 10, 10, 10, 10]
    with reading() as session:
        found = sweep_views.trials(session, made)
    assert [job.sweep_point for job in found] == [point.to_json() for point in asked.points()]
    taken = [claim().id for _ in found]
    assert taken == [job.id for job in found]


def test_a_job_of_a_sweep_is_a_job(made, asked):
    job = claim()
    assert job.sweep_id == made
    assert jobs.is_asked_by(job, asked.job(next(asked.points())))
    assert (job.labels, job.spec["seed"]) == ({"team": "vision"}, 0)


@pytest.mark.usefixtures("store")
def test_submit_that_fails_midway_leaves_nothing(asked, children):
    broken = sweeps.Child(point=children[5].point, spec=children[5].spec, plan=SimpleNamespace())
    with pytest.raises(AttributeError), transaction() as session:
        sweeps.submit(session, asked, [*children[:5], broken], idempotency_key="k")
    assert count() == [0] * len(TABLES)


@pytest.mark.usefixtures("store")
def test_submit_that_loses_its_connection_leaves_nothing(asked, children):
    ended = []

    class Last:
        """A plan in the midst of whose writing the connection is lost."""

        def __getattr__(self, name):
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            with psycopg.connect(URL()) as other:
                ended.append(other.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone()[0])
            return getattr(children[0].plan, name)

    last = sweeps.Child(point=children[-1].point, spec=children[-1].spec, plan=Last())
    with pytest.raises(OperationalError), transaction() as session:
        sweeps.submit(session, asked, [*children[:-1], last])
    assert ended
    assert count() == [0] * len(TABLES)


def URL():  # noqa: N802 - a constant, known when the servers run
    return engine().url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.mark.usefixtures("store")
def test_submit_under_a_used_key_makes_nothing_more(asked, children):
    with transaction() as session:
        first = sweeps.submit(session, asked, children, idempotency_key="k")
    with transaction() as session:
        again = sweeps.submit(session, asked, children, idempotency_key="k")
        known = idempotency.known(session, "k")
        assert sweeps.is_sweep_of(session, known, asked)
        other = asked.model_copy(update={"seeds": (0,)})
        assert not sweeps.is_sweep_of(session, known, other)
    assert (first, again) == ((first[0], True), (first[0], False))
    assert count()[:2] == [1, 10]


def test_sweep_is_what_its_jobs_are(made):
    assert (summary(made).state, summary(made).counts) == ("queued", {"queued": 10})
    first = claim()
    with transaction() as session:
        claims.report(session, first.id, first.claim_number, {"progress": 0.5})
    found = summary(made)
    assert (found.state, found.progress) == ("running", 0.5 / 10)
    assert found.counts == {"queued": 9, "running": 1}
    assert found.started_at == first.started_at
    end(first, accuracy=0.5)
    assert (summary(made).state, summary(made).progress) == ("running", 1 / 10)
    assert summary(made).finished_at is None
    for _ in range(9):
        end(claim(), accuracy=0.5)
    found = summary(made)
    assert (found.state, found.is_terminal, found.progress) == ("succeeded", True, 1)
    assert found.finished_at is not None
    assert found.eta_seconds is None


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ({"succeeded"}, "succeeded"),
        ({"succeeded", "cancelled"}, "cancelled"),
        ({"succeeded", "failed"}, "failed"),
        ({"cancelled", "failed"}, "failed"),
    ],
)
def test_sweep_ends_as_the_worst_of_its_jobs(made, ends, state):
    ways = sorted(ends)
    for number in range(10):
        assert not summary(made).is_terminal
        end(claim(), ways[number % len(ways)])
    assert (summary(made).state, summary(made).is_terminal) == (state, True)


def test_eta_is_what_is_left_of_all_jobs(made):
    assert summary(made).eta_seconds is None
    with transaction() as session:
        session.execute(text("""UPDATE jobs SET estimate = '{"seconds": 30}'"""))
    assert summary(made).eta_seconds == 10 * 30
    first = claim()
    with transaction() as session:
        claims.report(session, first.id, first.claim_number, {"eta_seconds": 10.0})
    assert summary(made).eta_seconds == 9 * 30 + 10
    end(first)
    with transaction() as session:
        session.execute(text("UPDATE jobs SET estimate = NULL"))
        session.execute(
            text("UPDATE jobs SET started_at = finished_at - interval '7 s' WHERE id = :id"),
            {"id": first.id},
        )
    assert summary(made).eta_seconds == pytest.approx(9 * 7)


def test_cancel_ends_queued_jobs_at_once_and_asks_the_others(made):
    running, ended = claim(), claim()
    end(ended, accuracy=0.5)
    for _ in range(2):
        with transaction() as session:
            sweeps.cancel_all(session, made)
        found = summary(made)
        assert found.counts == {"cancelling": 1, "cancelled": 8, "succeeded": 1}
        assert (found.state, found.is_terminal) == ("cancelling", False)
    assert claim() is None
    end(running, "cancelled", accuracy=0.4)
    assert summary(made).state == "cancelled"
    with reading() as session:
        histories = listings.histories(session, [running.id])
    assert [t.to_state for t in histories[running.id]] == [
        "queued",
        "running",
        "cancelling",
        "cancelled",
    ]


def test_retry_after_a_cancel_makes_the_sweep_go_on(made, children):
    with transaction() as session:
        sweeps.cancel_all(session, made)
    assert summary(made).state == "cancelled"
    with transaction() as session:
        again = jobs.create(session, children[0].spec, children[0].plan)
        session.execute(
            text("UPDATE jobs SET sweep_id = :sweep WHERE id = :id"),
            {"sweep": made, "id": again.id},
        )
    assert (summary(made).state, summary(made).is_terminal) == ("running", False)
    with transaction() as session:
        jobs.request_cancel(session, again.id)
    assert summary(made).state == "cancelled"


def test_cancel_and_claims_at_once_lose_no_job(made):
    """Each job ends cancelled at once, or is held by a claim that was asked to end."""
    taken, start = [], threading.Barrier(3)

    def work():
        start.wait()
        while (job := claim()) is not None:
            taken.append(job.id)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    start.wait()
    with transaction() as session:
        sweeps.cancel_all(session, made)
    for worker in workers:
        worker.join()
    with reading() as session:
        found = {job.id: job.state for job in sweep_views.trials(session, made)}
    assert len(set(taken)) == len(taken)
    assert found == {j: "cancelling" if j in taken else "cancelled" for j in found}


def test_a_retry_stands_for_the_job_that_failed(made, children):
    failed = claim()
    end(failed, "failed")
    assert summary(made).counts == {"failed": 1, "queued": 9}
    for _ in range(2):
        with transaction() as session:
            origin = jobs.Origin(parent_id=failed.id, relation="retry", request={})
            again = lineage.descend(session, children[0].spec, children[0].plan, None, origin)
        assert summary(made).counts == {"queued": 10}
        assert summary(made).state == "queued"
    with reading() as session:
        found = {job.id: job.sweep_point for job in sweep_views.trials(session, made)}
        assert found[again.id] == children[0].point.to_json()
        assert len(found) == 10
        assert len(sweep_views.members(session, made, None, 100)) == 12
    with transaction() as session:
        origin = jobs.Origin(parent_id=failed.id, relation="clone", request={})
        clone = lineage.descend(session, children[0].spec, children[0].plan, None, origin)
    assert clone.sweep_id is None


def test_delete_waits_for_a_retry_that_is_being_made(made, children):
    """A retry joins its parent's sweep, or finds no parent; it is never lost with the sweep."""
    homes.settle()
    with transaction() as session:
        sweeps.cancel_all(session, made)
        (parent, *_) = sweep_views.trials(session, made)
    results = []

    def delete():
        try:
            sweeps.delete_sweep(made)
        except sweeps.SweepGoesOnError as error:
            results.append(error.num_open)

    deleting = threading.Thread(target=delete)
    with transaction() as session:
        origin = jobs.Origin(parent_id=parent.id, relation="retry", request={})
        again = lineage.descend(session, children[0].spec, children[0].plan, None, origin)
        deleting.start()
        wait_until(lambda: num_waiting() == 1)
    deleting.join()
    assert results == [1]
    with reading() as session:
        assert jobs.get(session, again.id).sweep_id == made
    with transaction() as session:
        jobs.request_cancel(session, again.id)
    assert sweeps.delete_sweep(made)[0] == 11
    assert count()[:2] == [0, 0]
    with pytest.raises(lineage.NoParentError), transaction() as session:
        lineage.descend(session, children[0].spec, children[0].plan, None, origin)


def num_waiting():
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with reading() as session:
        return session.scalar(text(waits))


def wait_until(holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sweep_whose_jobs_are_deleted_says_how_many_there_were(made):
    with transaction() as session:
        session.execute(text("DELETE FROM jobs WHERE (sweep_point ->> 'seed')::int = 1"))
    with reading() as session:
        assert sweeps.lookup(session, made).num_jobs == 10
    assert summary(made).counts == {"queued": 5}


def test_reading_rows_page_by_page_gives_each_once(made):
    seen, after = [], None
    with reading() as session:
        while found := sweep_views.members(session, made, after, 7):
            seen += [job.id for job in found]
            after = listings.Place(value=found[-1].created_at, id=found[-1].id)
        assert seen == [job.id for job in sweep_views.trials(session, made)]


@pytest.mark.usefixtures("store")
def test_sweep_that_is_not_there_is_named():
    with transaction() as session:
        for act in (sweeps.lookup, sweeps.cancel_all):
            with pytest.raises(sweeps.NoSuchSweepError, match="sweep_0"):
                act(session, "sweep_0")
