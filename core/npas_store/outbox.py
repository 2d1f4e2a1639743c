"""From the outbox to the broker: every queued job gets its bell, sooner or later."""

from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from npas_store import broker
from npas_store.database import transaction
from npas_store.settings import settings
from npas_store.tables import Bell, Job

_BATCH = 100


def relay_once() -> int:
    """Ring the bells that are due and return how many; safe to call from anywhere, at any time.

    A bell leaves the outbox in the transaction in which Redis took it: it may be rung twice, but
    never not at all. Jobs that wait although theirs was rung get a new one, which covers a Redis
    that came back empty.

    Raises:
        broker.BrokerDownError: Redis does not answer; the bells stay where they are.
    """
    with transaction() as session:
        _announce_again(session)
    with transaction() as session:
        return _ring_due(session)


def _announce_again(session: Session) -> None:
    """Put new bells into the outbox for jobs that wait too long; Redis may hold some already."""
    limit = timedelta(seconds=settings().bell_seconds)
    last = func.greatest(Job.rung_at, Job.due_at)
    query = select(Job.id).where(Job.state == "queued", last < func.now() - limit).limit(_BATCH)
    stale = session.scalars(query.with_for_update(skip_locked=True)).all()
    if not stale:
        return
    missing = max(0, len(stale) - broker.waiting())
    session.add_all([Bell(job_id=job_id) for job_id in stale[:missing]])
    session.execute(update(Job).where(Job.id.in_(stale)).values(rung_at=func.now()))


def _ring_due(session: Session) -> int:
    """Ring; the jobs' own rows are not touched, as a worker that hears it locks them at once."""
    query = select(Bell.id).where(Bell.due_at <= func.now()).order_by(Bell.id).limit(_BATCH)
    due = session.scalars(query.with_for_update(skip_locked=True)).all()
    if due:
        broker.ring(len(due))
        session.execute(delete(Bell).where(Bell.id.in_(due)))
    return len(due)
