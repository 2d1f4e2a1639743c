"""Jobs as a worker holds them: claim, keep, end, give back. Each write names its claim.

A claim raises the job's claim number. Whoever holds an older one holds nothing: its writes find no
row and raise `LeaseLostError`, however long it slept and whatever it believes.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, bindparam, case, func, null, select, text, update
from sqlalchemy.orm import Session

from npas_store import events, resume_files, retries, room, transitions
from npas_store.causes import cause
from npas_store.json_values import finite
from npas_store.settings import settings
from npas_store.states import LIVE, Ending
from npas_store.tables import Attempt, Job, OutboxMessage


class LeaseLostError(Exception):
    """Another worker has the job, or it has ended: stop, and write nothing more."""


def _after(seconds: float) -> Any:
    # Not now(): that is when the transaction began, and it may have waited for the row since.
    return func.clock_timestamp() + bindparam(None, timedelta(seconds=seconds), Interval)


def claim(session: Session, worker: str, *, free_bytes: int | None = None) -> Job | None:
    """Take the job that is next, or return None when there is none to take.

    That is the one of the highest priority, of equal ones the one that has waited longest.

    A job whose end was asked for becomes `cancelling`: all that is left to do is to deliver it. A
    job whose row somebody else holds at this moment is passed over: see `is_any_due`.

    Args:
        worker: name of the worker, for people.
        free_bytes: on its disk: jobs that need more are passed over; None: none is.
    """
    chosen = (
        select(Job.id)
        .where(*_due(free_bytes))
        .order_by(Job.priority.desc(), Job.queued_at, Job.id)
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


def is_any_due(session: Session, *, free_bytes: int | None = None) -> bool:
    """Tell whether a job can be claimed now, or could but for somebody who just holds its row.

    Args:
        free_bytes: as for `claim`.
    """
    query = select(Job.id).where(*_due(free_bytes)).limit(1)
    return session.scalars(query).one_or_none() is not None


def _due(free_bytes: int | None) -> list[ColumnElement[bool]]:
    due = [Job.state == "queued", Job.due_at <= func.now()]
    return due if free_bytes is None else [*due, room.needed() <= free_bytes]


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


def spent_seconds(session: Session, job_id: str) -> float:
    """Return what all claims of a job took so far, the present one included."""
    until = func.coalesce(Attempt.ended_at, func.clock_timestamp())
    taken = func.sum(func.extract("epoch", until - Attempt.started_at))
    return float(session.scalar(select(taken).where(Attempt.job_id == job_id)) or 0)


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
        why: a `transitions.reason`; of a job that succeeded, what cut it short.
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
    _end_attempt(session, job, retries.DRAINED)
    job.attempt -= 1
    why = transitions.reason("worker_stopped", "its worker was stopped and saved its state")
    return _requeue(session, job, why, seconds=0)


def lose(
    session: Session,
    job_id: str,
    claim_number: int,
    why: Mapping[str, Any],
    *,
    waited_seconds: float = 0,
) -> Job:
    """Give a job back because its training or its worker was lost, or end it: as the cause says.

    It waits a little longer each time, and fails for good after too many losses of one cause (see
    `retries`). What the cause adjusts, it is tried with from now on. A job whose end was asked for
    is taken up again only where there is a network to deliver, and fails to deliver as often
    before it is given up. A full disk costs nothing: the claim does not count.

    Args:
        why: a `transitions.reason`.
        waited_seconds: of the pause that are over, as when a lease had to run out first.

    Raises:
        LeaseLostError: the claim is over.
    """
    job = guard(session, job_id, claim_number)
    known = cause(why["code"])
    if known.tries == "none" and known.adjusts is None:
        return _fail(session, job, why)
    _end_attempt(session, job, why["code"])
    retry = retries.following(session, job, why["code"])
    if retry.ends:
        return _give_up(session, job, why, retry.losses)
    if known.tries == "any":
        job.attempt -= 1
        why = _waiting_for_room(session, job, why)
    else:
        job.losses += 1
    if retry.adjustments is not None:
        job.adjustments = dict(retry.adjustments)
        if known.adjusts == "learning_rate_factor":
            resume_files.drop_newest(session, job.id)
        events.append(session, job.id, "adjusted", retry.told, job.adjustments, level="warning")
        why = {**why, "message": f"{why['message']}; {retry.told}"}
    return _requeue(session, job, why, seconds=max(0.0, retry.seconds - waited_seconds))


def casts_doubt(session: Session, job_id: str, claim_number: int) -> bool:
    """Tell whether a claim ended as a loss for which its machine may be to blame."""
    query = select(Attempt.outcome).where(
        Attempt.job_id == job_id, Attempt.claim_number == claim_number
    )
    outcome = session.scalars(query).one_or_none()
    return retries.is_loss(outcome) and cause(str(outcome)).blame != "user"


def _waiting_for_room(session: Session, job: Job, why: Mapping[str, Any]) -> dict[str, Any]:
    needs = room.needed_bytes(session, job.id)
    message = f"{why['message']}; {needs:,} bytes must be free on the disk of a worker"
    return {**why, "message": message, "hint": cause(why["code"]).hint, "bytes_needed": needs}


def _give_up(session: Session, job: Job, why: Mapping[str, Any], losses: int) -> Job:
    message = f"{why['message']}; given up after {losses} losses of this kind"
    if cause(why["code"]).tries == "none":
        message = f"{why['message']}; what was changed before was of no use"
    job.losses += 1
    if job.cancel_requested:
        return _cancelled(session, job, message)
    return _fail(session, job, {**why, "message": message})


def _fail(session: Session, job: Job, why: Mapping[str, Any]) -> Job:
    final = {**why, "hint": why.get("hint") or cause(why["code"]).hint}
    message = str(why["message"])
    return finish(session, job.id, job.claim_number, "failed", message=message, why=final)


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


def _cancelled(session: Session, job: Job, told: str) -> Job:
    message = f"cancelled without a network: {told}"
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
