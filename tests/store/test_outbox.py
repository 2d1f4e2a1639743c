"""From the outbox to Redis, which may be away or forget."""

import pytest
from npas_store import broker, claims, outbox
from npas_store.database import reading, transaction
from npas_store.tables import OutboxMessage
from sqlalchemy import func, select, text


def messages():
    with reading() as session:
        return session.scalar(select(func.count()).select_from(OutboxMessage))


def make_old():
    with transaction() as session:
        session.execute(
            text(
                "UPDATE jobs SET due_at = due_at - interval '1 h', "
                "notified_at = notified_at - interval '1 h'"
            )
        )


def test_relay_rings_once_for_each_job(submit):
    submit()
    submit()
    assert (outbox.relay_once(), outbox.relay_once()) == (2, 0)
    assert (broker.waiting(), messages()) == (2, 0)


def test_relay_sends_all_that_is_due_however_much(submit, monkeypatch):
    monkeypatch.setattr(outbox, "_BATCH", 2)
    for _ in range(5):
        submit()
    assert outbox.relay_once() == 5
    assert (broker.waiting(), messages()) == (5, 0)


def test_relay_fills_redis_no_further_than_helps_and_announces_the_rest(submit, monkeypatch):
    monkeypatch.setattr(outbox, "ENOUGH", 2)
    for _ in range(3):
        submit()
    outbox.relay_once()
    assert (broker.waiting(), messages()) == (2, 0)
    with broker.client() as server:
        server.flushall()  # they were heard, and the jobs are still there
    make_old()
    outbox.relay_once()
    assert broker.waiting() == 2


def test_relay_waits_until_a_bell_is_due(submit):
    submit()
    with transaction() as session:
        session.execute(text("UPDATE outbox SET due_at = now() + interval '1 h'"))
    assert outbox.relay_once() == 0
    assert messages() == 1


def test_relay_keeps_the_bell_while_redis_is_down(submit, in_environment):
    submit()
    with (
        in_environment(NPAS_REDIS_URL="unix:///nowhere/redis.sock"),
        pytest.raises(broker.BrokerDownError, match="does not answer"),
    ):
        outbox.relay_once()
    assert messages() == 1
    assert outbox.relay_once() == 1
    assert broker.waiting() == 1


def test_relay_announces_again_what_redis_forgot(submit):
    submit()
    outbox.relay_once()
    with broker.client() as server:
        server.flushall()
    assert outbox.relay_once() == 0
    make_old()
    assert outbox.relay_once() == 1
    assert outbox.relay_once() == 0


def test_relay_does_not_pile_up_bells_that_nobody_hears(submit):
    submit()
    submit()
    outbox.relay_once()
    for _ in range(3):
        make_old()
        outbox.relay_once()
    assert broker.waiting() == 2


def test_relay_does_not_announce_what_is_claimed(submit):
    submit()
    outbox.relay_once()
    with broker.client() as server:
        server.flushall()
    with transaction() as session:
        claims.claim(session, "w")
    make_old()
    assert outbox.relay_once() == 0


def test_ring_leaves_no_row_locked_that_a_worker_wants(submit):
    """The worker hears the message before the relay has committed: it must find the job."""
    job = submit()
    with transaction() as session:
        outbox._send_due(session)
        with transaction() as other:
            assert claims.claim(other, "w").id == job.id


@pytest.mark.usefixtures("services")
def test_broker_reaches_redis_over_tcp_and_socket():
    assert broker._kombu_url("redis://h:6379/1") == "redis://h:6379/1"
    assert broker._kombu_url("unix:///a/b.sock") == "redis+socket:///a/b.sock?virtual_host=0"
