"""The schema: up, down, up again, and what it is checked against."""

import os
import subprocess
import sys
import threading

import pytest
from alembic import command
from npas_store import claims, jobs, migrate
from npas_store.claims import LeaseLostError
from npas_store.database import engine, reading, transaction
from sqlalchemy import inspect, text


def tables():
    return set(inspect(engine()).get_table_names()) - {"alembic_version"}


def test_migrations_go_up_down_and_up_again(store):
    (store / "id").unlink(missing_ok=True)  # the folder of a database that is gone
    before = tables()
    assert "jobs" in before
    migrate.downgrade("base")
    assert tables() == set()
    migrate.upgrade()
    assert tables() == before


def test_claims_go_on_over_the_change_of_their_name(submit):
    """Jobs are queued and running in the release that called a claim's number its epoch."""
    running, queued = submit(), submit()
    with transaction() as session:
        claims.claim(session, "old")
    try:
        migrate.downgrade("5b1e0c7d42a9")
        with engine().begin() as connection:
            rows = connection.execute(text("SELECT id, epoch, rung_at FROM jobs")).all()
        assert {row.id: row.epoch for row in rows} == {running.id: 1, queued.id: 0}
    finally:
        migrate.upgrade()
    with transaction() as session:
        assert claims.beat(session, running.id, 1) is False
        claims.lose(session, running.id, 1, {"code": "worker_lost", "message": "gone"})
        assert claims.claim(session, "new").claim_number == 1  # the one that was queued
    with transaction() as session, pytest.raises(LeaseLostError):
        claims.beat(session, running.id, 1)
    with reading() as session:
        assert [a.claim_number for a in jobs.attempts(session, running.id)] == [1]


@pytest.mark.usefixtures("services")
def test_migrations_make_what_the_code_maps():
    with engine().begin() as connection:
        command.check(migrate.config(connection))


@pytest.mark.usefixtures("services")
def test_there_is_one_head():
    with engine().begin() as connection:
        config = migrate.config(connection)
    assert len(migrate.ScriptDirectory.from_config(config).get_heads()) == 1


@pytest.mark.usefixtures("services")
def test_upgrades_at_the_same_time_wait_for_each_other():
    errors = []

    def run():
        try:
            migrate.upgrade()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.fixture
def revision(services):
    """Change the revision that the database believes to have; None: it has none."""
    assert services.is_dir()

    def change(name):
        with transaction() as session:
            session.execute(text("DELETE FROM alembic_version"))
            if name is not None:
                session.execute(text("INSERT INTO alembic_version VALUES (:name)"), {"name": name})

    with engine().connect() as connection:
        before = connection.scalar(text("SELECT version_num FROM alembic_version"))
    yield change
    change(before)


@pytest.mark.parametrize(
    ("found", "advice"),
    [(None, "python -m npas_store.migrate"), ("ffffffffffff", "newer version of npas")],
)
def test_require_accepts_only_its_own_schema(revision, found, advice):
    migrate.require()
    revision(found)
    with pytest.raises(migrate.SchemaError, match=advice):
        migrate.require()


def test_upgrade_refuses_a_newer_schema(revision):
    revision("ffffffffffff")
    with pytest.raises(migrate.SchemaError, match="newer version of npas"):
        migrate.upgrade()


@pytest.mark.parametrize("program", ["npas_store.migrate", "npas_local.serve"])
def test_programs_say_in_one_line_that_the_schema_is_newer(revision, program, tmp_path):
    revision("ffffffffffff")
    ended = subprocess.run(
        [sys.executable, "-m", program],
        env={**os.environ, "NPAS_PORT": "0", "NPAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode in (1, 2)
    assert ended.stderr.startswith("npas: the database has schema ffffffffffff, this code needs")
    assert ended.stderr.count("\n") == 1
