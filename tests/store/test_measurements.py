"""What trainings took: kept in bounds, read for the workers that are there."""

import pytest
from npas_store import claims, measurements, workers
from npas_store.database import reading, transaction
from npas_store.tables import Measurement, Worker
from sqlalchemy import func, select, text


def record(machine, kind, **facts):
    with transaction() as session:
        measurements.record(session, machine, kind, facts)


def known():
    with reading() as session:
        machines, rows = measurements.of_workers(session)
        return machines, [(row.machine, row.kind, row.facts["n"]) for row in rows]


def beat(name, machine):
    with transaction() as session:
        workers.beat(session, name, machine=machine)


def leave(name):
    with transaction() as session:
        session.get(Worker, name).seen_at = func.now() - text("interval '1 hour'")


@pytest.fixture(autouse=True)
def few(store, monkeypatch):
    assert store.is_dir()
    monkeypatch.setattr(measurements, "KEPT_OF_A_KIND", 3)
    monkeypatch.setattr(measurements, "KEPT_OF_A_MACHINE", 5)
    monkeypatch.setattr(measurements, "KEPT", 7)


def test_newest_of_each_kind_and_machine_are_kept():
    for number in range(4):
        record("a", "x", n=number)
    for number in range(4):
        record("a", "y", n=number)
    for number in range(4):
        record("b", "x", n=number)
    with reading() as session:
        kept = session.scalars(select(Measurement).order_by(Measurement.id)).all()
    assert [(row.machine, row.kind, row.facts["n"]) for row in kept] == [
        *[("a", "x", 3)],
        *[("a", "y", n) for n in (1, 2, 3)],
        *[("b", "x", n) for n in (1, 2, 3)],
    ]


def test_numbers_that_are_none_are_kept_as_unknown():
    record("a", "x", n=float("nan"))
    beat("w", "a")
    assert known() == (["a"], [("a", "x", None)])


def test_machines_are_those_of_workers_that_are_there():
    assert known() == ([], [])
    for machine in ("a", "b", "c"):
        record(machine, "x", n=1)
    beat("one", "a")
    beat("two", "b")
    beat("three", None)
    assert known() == (["a", "b"], [("b", "x", 1), ("a", "x", 1)])
    leave("two")
    assert known() == (["a"], [("a", "x", 1)])
    leave("one")
    assert known()[0] == ["a", "b"]  # they come back


def test_machine_without_measurements_is_known_too():
    beat("one", "new")
    assert known() == (["new"], [])


def test_seconds_held_are_of_all_claims_and_of_the_last(submit):
    job = submit()
    with transaction() as session:
        claims.claim(session, "w")
    with transaction() as session:
        session.execute(text("UPDATE attempts SET started_at = now() - interval '100 s'"))
    with transaction() as session:
        claims.drain(session, job.id, 1)
    with transaction() as session:
        claims.claim(session, "w")
    with transaction() as session:
        session.execute(
            text("UPDATE attempts SET started_at = now() - interval '9 s' WHERE claim_number = 2")
        )
        whole, own = measurements.seconds_held(session, job.id, 2)
    assert 9 <= own < 60
    assert 100 <= whole - own < 160
