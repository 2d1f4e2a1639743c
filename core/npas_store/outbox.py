"""From the outbox to the broker: every queued job gets its bell, sooner or later."""

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from npas_store import broker
from npas_store.database import transaction
from npas_store.settings import settings
from npas_store.tables import Bell, Job

_BATCH = 100


def relay_once() -> int:
    """Ring the bells that are due and return how many; safe to call from anywhere, at any time.

    A bell leaves the outbox in the transaction in which Redis took it: it may be rung twice, but
    never not at all. Then jobs that wait although theirs was rung are announced again, which
    covers a Redis that came back empty.

    Raises:
        broker.BrokerDownError: Redis does not answer; the bells stay where they are.
    """
    with transaction() as session:
        rung = _ring_due(session)
    with transaction() as session:
        return rung + _ring_again(session)


def _ring_due(session: Session) -> int:
    query = select(Bell).where(Bell.due_at <= func.now()).order_by(Bell.id).limit(_BATCH)
    due = session.scalars(query.with_for_update(skip_locked=True)).all()
    if not due:
        return 0
    broker.ring(len(due))
    jobs = {bell.job_id for bell in due}
    session.execute(update(Job).where(Job.id.in_(jobs)).values(rung_at=func.now()))
    session.execute(delete(Bell).where(Bell.id.in_([bell.id for bell in due])))
    return len(due)


def _ring_again(session: Session) -> int:
    """Ring for jobs whose bell was rung long ago, but only as many as Redis no longer holds."""
    limit = text("make_interval(secs => :bell_seconds)").bindparams(
        bell_seconds=settings().bell_seconds
    )
    query = select(Job.id).where(Job.state == "queued", Job.rung_at < func.now() - limit)
    stale = session.scalars(query.limit(_BATCH).with_for_update(skip_locked=True)).all()
    missing = len(stale) - broker.waiting() if stale else 0
    if missing <= 0:
        return 0
    broker.ring(missing)
    session.execute(update(Job).where(Job.id.in_(stale)).values(rung_at=func.now()))
    return missing
