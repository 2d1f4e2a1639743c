"""How often a request asks Postgres: what costs it most, and what must not grow unnoticed."""

from contextlib import contextmanager

import pytest
from npas_api.jobs import REPLAYED
from npas_store import metrics
from npas_store.database import transaction
from sqlalchemy import Engine, event


@contextmanager
def statements_of():
    """Collect the statements of a block, those of all sessions."""
    found = []

    def note(_connection, _cursor, statement, *_others):
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def job_id(submit, deliver):
    submit()
    return deliver(accuracy=0.5)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/v1/jobs/{job_id}", 1),
        ("/v1/jobs?limit=20", 1),
        ("/v1/jobs/{job_id}/metrics", 1),
        ("/v1/results", 1),
    ],
)
def test_reading_is_one_statement(job_id, client, path, most):
    with transaction() as session:
        metrics.record_all(session, job_id, [{"stage": "train", "epoch": n} for n in (1, 2, 3)])
    with statements_of() as statements:
        assert client.get(path.format(job_id=job_id)).status_code == 200
    assert len(statements) == most, statements


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}])
def test_job_like_one_before_is_created_in_two_statements(submit, client, asked, headers):
    submit()
    with statements_of() as statements:
        answer = client.post("/v1/jobs", json={**asked, "labels": {"n": "2"}}, headers=headers)
    assert (answer.status_code, REPLAYED in answer.headers) == (202, False)
    assert len(statements) == 2, statements  # the largest device's memory, and all that is written


def test_events_of_a_batch_are_written_in_one_statement(submit):
    job_id = submit()["id"]
    with statements_of() as statements, transaction() as session:
        metrics.record_all(session, job_id, [{"stage": "train", "epoch": n} for n in range(50)])
    assert len(statements) == 2, statements  # the rows, and their events
