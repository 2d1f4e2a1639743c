"""Jobs as a worker holds them: claim, keep, end, give back. Each write names its claim.

A claim raises the job's claim number. Whoever holds an older one holds nothing: its writes find no
row and raise `LeaseLostError`, however long it slept and whatever it believes.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, bindparam, case, func, null, select, text, update
from sqlalchemy.orm import Session

from npas_store import resume_files, transitions
from npas_store.json_values import finite
from npas_store.settings import settings
from npas_store.states import LIVE, TERMINAL, Ending
from npas_store.tables import Attempt, Job, OutboxMessage, Transition

_FEW = 3
_MANY_CAUSES = frozenset(
    {"worker_lost", "stalled", "database_away", "disk_full", "machine_failed", "device_failed"}
)
"""Causes that lie with the machine and may pass; all others are likely to come back each time."""


_WELL = f"the worker's log has the details; once the machine is well, {transitions.ANEW}"


class LeaseLostError(Exception):
    """Another worker has the job, or it has ended: stop, and write nothing more."""


def _after(seconds: float) -> Any:
    # Not now(): that is when the transaction began, and it may have waited for the row since.
    return func.clock_timestamp() + bindparam(None, timedelta(seconds=seconds), Interval)


def claim(session: Session, worker: str) -> Job | None:
    """Take the job that has waited longest, or return None when there is none to take.

    A job whose end was asked for becomes `cancelling`: all that is left to do is to deliver it. A
    job whose row somebody else holds at this moment is passed over: see `is_any_due`.

    Args:
        worker: name of the worker, for people.
    """
    chosen = (
        select(Job.id)
        .where(Job.state == "queued", Job.due_at <= func.now())
        .order_by(Job.queued_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    job = session.scalars(
        update(Job)
        .where(Job.id == chosen, Job.state == "queued")
        .values(
            state=case((Job.cancel_requested, "cancelling"), else_="running"),
            phase="preparing",
            reason=case((Job.cancel_requested, Job.reason), else_=null()),
            claim_number=Job.claim_number + 1,
            attempt=Job.attempt + 1,
            lease_owner=worker,
            lease_until=_after(settings().lease_seconds),
            started_at=func.coalesce(Job.started_at, func.now()),
            threads=func.coalesce(Job.threads, settings().threads),
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).one_or_none()
    if job is None:
        return None
    session.add(
        Attempt(job_id=job.id, claim_number=job.claim_number, attempt=job.attempt, worker=worker)
    )
    does = "to deliver the best network so far: taken" if job.cancel_requested else "started"
    transitions.moved(session, job, before="queued", message=f"{does} by {worker}")
    return job


def is_any_due(session: Session) -> bool:
    """Tell whether a job can be claimed now, or could but for somebody who just holds its row."""
    query = select(Job.id).where(Job.state == "queued", Job.due_at <= func.now()).limit(1)
    return session.scalars(query).one_or_none() is not None


def guard(session: Session, job_id: str, claim_number: int) -> Job:
    """Return the job, locked until the end of the transaction, if this claim still holds it.

    Raises:
        LeaseLostError: it does not.
    """
    job = session.scalars(
        select(Job)
        .where(Job.id == job_id, Job.claim_number == claim_number, Job.state.in_(LIVE))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if job is None:
        raise LeaseLostError(f"claim {claim_number} of {job_id} is over")
    return job


def beat(session: Session, job_id: str, claim_number: int) -> bool:
    """Renew the lease; return whether the job's end was asked for.

    The transaction does not wait for the disk, so do nothing else in it. Should Postgres crash and
    forget it, the reaper gives everybody the time of a lease.

    Raises:
        LeaseLostError: the claim is over.
    """
    session.execute(text("SET LOCAL synchronous_commit = off"))
    asked = session.scalars(
        update(Job)
        .where(Job.id == job_id, Job.claim_number == claim_number, Job.state.in_(LIVE))
        .values(lease_until=_after(settings().lease_seconds))
        .returning(Job.cancel_requested)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if asked is None:
        raise LeaseLostError(f"claim {claim_number} of {job_id} is over")
    return asked


def is_cancel_requested(session: Session, job_id: str, claim_number: int) -> bool:
    """Tell whether the job's end was asked for, without renewing the lease.

    Raises:
        LeaseLostError: the claim is over.
    """
    asked = session.scalars(
        select(Job.cancel_requested).where(
            Job.id == job_id, Job.claim_number == claim_number, Job.state.in_(LIVE)
        )
    ).one_or_none()
    if asked is None:
        raise LeaseLostError(f"claim {claim_number} of {job_id} is over")
    return asked


def report(session: Session, job_id: str, claim_number: int, values: Mapping[str, Any]) -> None:
    """Set phase, progress, eta_seconds or parameters of a running job.

    Raises:
        LeaseLostError: the claim is over.
    """
    assert values.keys() <= {"phase", "progress", "eta_seconds", "parameters"}, values
    changed = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.claim_number == claim_number, Job.state.in_(LIVE))
        .values(finite(values))
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if changed is None:
        raise LeaseLostError(f"claim {claim_number} of {job_id} is over")


def resumed(session: Session, job_id: str, claim_number: int, step: int) -> None:
    """Note on the attempt that it goes on from an earlier one's file, after `step` steps."""
    guard(session, job_id, claim_number)
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.claim_number == claim_number)
        .values(resumed_from_step=step)
    )


def finish(
    session: Session,
    job_id: str,
    claim_number: int,
    state: Ending,
    *,
    message: str,
    why: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
) -> Job:
    """End a job for good.

    Args:
        message: the event's sentence.
        why: a `transitions.reason`, for jobs that did not succeed.
        result: the report; its accuracy and parameters become columns, to search by.

    Raises:
        LeaseLostError: the claim is over.
    """
    job = guard(session, job_id, claim_number)
    before, job.state, job.reason = job.state, state, dict(why) if why else None
    job.finished_at, job.eta_seconds, job.phase = func.now(), None, None
    job.lease_owner = job.lease_until = None
    if result is not None:
        job.result = finite(result)
        job.accuracy = job.result.get("accuracy")
        job.parameters = job.result.get("parameters", job.parameters)
    if state == "succeeded":
        job.progress = 1.0
    _end_attempt(session, job, state)
    session.flush()
    transitions.moved(session, job, before=before, message=message, why=why)
    return job


def drain(session: Session, job_id: str, claim_number: int) -> Job:
    """Give a job back because this worker was asked to leave; the attempt does not count.

    Raises:
        LeaseLostError: the claim is over.
    """
    job = guard(session, job_id, claim_number)
    _end_attempt(session, job, "drained")
    job.attempt -= 1
    why = transitions.reason("worker_stopped", "its worker was stopped and saved its state")
    return _requeue(session, job, why, seconds=0)


def lose(session: Session, job_id: str, claim_number: int, why: Mapping[str, Any]) -> Job:
    """Give a job back because its training or its worker was lost.

    It waits a little longer each time, and fails for good after too many losses of one cause:
    `settings.max_attempts` where the machine is to blame, three where the job may be. A job whose
    end was asked for is taken up again only where there is a network to deliver, and fails to
    deliver as often before it is given up.

    Args:
        why: a `transitions.reason`.

    Raises:
        LeaseLostError: the claim is over.
    """
    job = guard(session, job_id, claim_number)
    _end_attempt(session, job, why["code"])
    job.losses += 1
    losses = _count(session, job, why["code"])
    if losses >= _most(why["code"]):
        message = f"{why['message']}; given up after {losses} losses of this kind"
        if job.cancel_requested:
            return _cancelled(session, job, message)
        final = {**why, "message": message, "hint": why.get("hint") or _WELL}
        return finish(session, job_id, claim_number, "failed", message=message, why=final)
    seconds = min(settings().retry_seconds * 2 ** (job.losses - 1), 600.0)
    return _requeue(session, job, why, seconds=seconds)


def was_lost(session: Session, job_id: str, claim_number: int) -> bool:
    """Tell whether a claim ended as a loss, whoever wrote that."""
    query = select(Attempt.outcome).where(
        Attempt.job_id == job_id, Attempt.claim_number == claim_number
    )
    return session.scalars(query).one_or_none() not in (None, "drained", *TERMINAL)


def _count(session: Session, job: Job, cause: str) -> int:
    """Return the losses of a cause; once the end was asked for, those of deliveries alone.

    What the training used up leaves a delivery its own chances.
    """
    query = select(func.count()).where(Attempt.job_id == job.id, Attempt.outcome == cause)
    if job.cancel_requested:
        deliveries = select(Transition.claim_number).where(
            Transition.job_id == job.id,
            Transition.from_state == "queued",
            Transition.to_state == "cancelling",
        )
        query = query.where(Attempt.claim_number.in_(deliveries))
    return session.scalars(query).one()


def _most(cause: str) -> int:
    most = settings().max_attempts
    return most if cause in _MANY_CAUSES else min(_FEW, most)


def _requeue(session: Session, job: Job, why: Mapping[str, Any], *, seconds: float) -> Job:
    waits_for = "go on"
    if job.cancel_requested:
        if not resume_files.are_there(session, job.id):
            return _cancelled(session, job, f"{why['message']}; no network was saved")
        waits_for = "deliver the best network so far"
    message = f"{why['message']}; waiting for a worker to {waits_for}"
    if job.cancel_requested:
        why = transitions.reason("user_cancelled", message)
    before, job.state, job.reason = job.state, "queued", dict(why)
    job.phase, job.eta_seconds = None, None
    job.lease_owner = job.lease_until = None
    job.due_at = _after(seconds)
    session.add(OutboxMessage(job_id=job.id, due_at=_after(seconds)))
    session.flush()
    transitions.moved(session, job, before=before, message=message, why=why)
    session.refresh(job)
    return job


def _cancelled(session: Session, job: Job, cause: str) -> Job:
    message = f"cancelled without a network: {cause}"
    asked = transitions.reason("user_cancelled", message, hint=transitions.ANEW)
    return finish(session, job.id, job.claim_number, "cancelled", message=message, why=asked)


def _end_attempt(session: Session, job: Job, outcome: str) -> None:
    session.execute(
        update(Attempt)
        .where(
            Attempt.job_id == job.id,
            Attempt.claim_number == job.claim_number,
            Attempt.ended_at.is_(None),
        )
        .values(ended_at=func.now(), outcome=outcome)
        .execution_options(synchronize_session=False)
    )
