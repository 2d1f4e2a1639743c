"""A key belongs to what was first made under it."""

from npas_store import idempotency
from npas_store.database import reading, transaction


def test_key_belongs_to_the_first(store):
    assert store.is_dir()
    with transaction() as session:
        assert idempotency.reserve(session, "a", "print", "job_1") == "job_1"
    with transaction() as session:
        assert idempotency.reserve(session, "a", "print", "job_2") == "job_1"
    with reading() as session:
        found = idempotency.known(session, "a")
        assert (found.resource, found.request_fingerprint) == ("job_1", "print")
        assert idempotency.known(session, "b") is None
