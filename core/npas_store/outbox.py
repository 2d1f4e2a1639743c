"""From the outbox to the broker: every queued job gets its message, sooner or later."""

from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from npas_store import broker
from npas_store.database import transaction
from npas_store.settings import settings
from npas_store.tables import Job, OutboxMessage

_BATCH = 100
ENOUGH = 1000
"""Messages in Redis. More would say nothing new: whatever waits when they have been heard is
announced again (`announce_again`)."""


def relay_once() -> int:
    """Do what `announce_again` and `send_due` do, and return how many messages were sent."""
    announce_again()
    return send_due()


def announce_again() -> None:
    """Put new messages into the outbox for jobs that wait although theirs was sent.

    This covers a Redis that came back empty. Safe to call from anywhere, at any time.

    Raises:
        broker.BrokerDownError: Redis does not answer, and may hold some.
    """
    with transaction() as session:
        _announce_again(session)


def send_due() -> int:
    """Send the messages that are due and return how many; safe to call from anywhere, at any time.

    A message leaves the outbox in the transaction in which Redis took it, or had `ENOUGH`: it may
    be sent twice, but never not at all.

    Raises:
        broker.BrokerDownError: Redis does not answer; the messages stay where they are.
    """
    sent = 0
    while True:
        with transaction() as session:
            num = _send_due(session)
        sent += num
        if num < _BATCH:
            return sent


def _announce_again(session: Session) -> None:
    limit = timedelta(seconds=settings().renotify_seconds)
    last = func.greatest(Job.notified_at, Job.due_at)
    query = select(Job.id).where(Job.state == "queued", last < func.now() - limit).limit(_BATCH)
    stale = session.scalars(query.with_for_update(skip_locked=True)).all()
    if not stale:
        return
    missing = max(0, len(stale) - broker.waiting())
    session.add_all([OutboxMessage(job_id=job_id) for job_id in stale[:missing]])
    session.execute(update(Job).where(Job.id.in_(stale)).values(notified_at=func.now()))


def _send_due(session: Session) -> int:
    """Send them; jobs' own rows are not touched: a worker that hears locks them at once."""
    query = (
        select(OutboxMessage.id)
        .where(OutboxMessage.due_at <= func.now())
        .order_by(OutboxMessage.id)
        .limit(_BATCH)
    )
    due = session.scalars(query.with_for_update(skip_locked=True)).all()
    if due:
        if num := min(len(due), max(0, ENOUGH - broker.waiting())):
            broker.notify(num)
        session.execute(delete(OutboxMessage).where(OutboxMessage.id.in_(due)))
    return len(due)


def num_unsent(session: Session) -> int:
    """Return how many messages wait to be sent, those that are not due yet included."""
    return session.scalars(select(func.count()).select_from(OutboxMessage)).one()
