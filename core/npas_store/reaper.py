"""Takes jobs back from workers that fell silent."""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from npas_store import claims, transitions
from npas_store.database import transaction
from npas_store.settings import settings
from npas_store.states import LIVE
from npas_store.tables import Job

_LOCK = 0x6E706173  # "npas": one reaper at a time is enough


def reap_once() -> int:
    """Give back every job whose lease ran out and return how many; safe to call at any time.

    A lease can also run out because Postgres itself was away. So nothing is taken in the first
    lease's time after Postgres started: its holders get their chance to renew first.
    """
    with transaction() as session:
        if not session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))) or _just_up(session):
            return 0
        query = select(Job).where(Job.state.in_(LIVE), Job.lease_until < func.now())
        silent = session.scalars(query.with_for_update(skip_locked=True)).all()
        for job in silent:
            why = transitions.reason("worker_lost", f"{job.lease_owner} fell silent")
            waited = settings().lease_seconds
            claims.lose(session, job.id, job.claim_number, why, waited_seconds=waited)
        return len(silent)


def _just_up(session: Session) -> bool:
    lease = {"seconds": settings().lease_seconds}
    statement = text("SELECT now() < pg_postmaster_start_time() + make_interval(secs => :seconds)")
    return bool(session.scalar(statement, lease))
