"""Where a job stands that waits for a worker, and what it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from npas_store import room, workers
from npas_store.states import LIVE
from npas_store.tables import Job, Worker


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePlace:
    """Of a job that is queued.

    Attributes:
        position: jobs that can be taken now and come before it; 0: it is the next.
        code: what it waits for, for programs: pause, worker_absent, worker_unfit, disk_full,
            worker_busy or turn.
        waiting_for: the same in words.
    """

    position: int
    code: str
    waiting_for: str


def place(session: Session, job: Job | Row[Any]) -> QueuePlace | None:
    """Return where a job stands; None: it does not wait.

    What holds it up longest is said: a pause of its own, then that there are no workers for it,
    then those before it.
    """
    if job.state != "queued":
        return None
    position, now = _ahead(session, job)
    code, waiting_for = _cause(session, job, position, now)
    return QueuePlace(position=position, code=code, waiting_for=waiting_for)


def _ahead(session: Session, job: Job | Row[Any]) -> tuple[int, datetime]:
    """Return how many jobs `claims.claim` would rather take, and the time in the database."""
    older = tuple_(Job.queued_at, Job.id) < tuple_(job.queued_at, job.id)
    query = select(func.count(), func.now()).where(
        Job.state == "queued",
        Job.due_at <= func.now(),
        or_(Job.priority > job.priority, and_(Job.priority == job.priority, older)),
    )
    count, now = session.execute(query).one()
    return count, now


def _cause(session: Session, job: Job | Row[Any], position: int, now: datetime) -> tuple[str, str]:
    if job.due_at > now:
        why = f" after {job.reason['code']}" if job.reason else ""
        return "pause", f"a pause{why}, until {job.due_at.isoformat(timespec='seconds')}"
    present = workers.present(session)
    fit = [worker.name for worker in present if worker.trouble is None]
    if not present:
        return "worker_absent", "a worker: none is present; start one"
    if not fit:
        return "worker_unfit", _trouble(present)
    if lacking := _lacking_room(session, job, present):
        return "disk_full", lacking
    busy = _num_busy(session, fit)
    if busy >= len(fit):
        of_them = "the one" if len(fit) == 1 else f"all {len(fit)}"
        return "worker_busy", f"a worker: {of_them} that could take it {_are(busy)} busy"
    if position:
        return "turn", f"its turn: {position} can be taken before it, of {len(fit)} workers " + (
            f"{busy} {_are(busy)} busy"
        )
    return "turn", "a worker to take it, which is a matter of moments"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _trouble(present: Sequence[Worker]) -> str:
    first = present[0]
    return (
        f"a worker that is well: of {len(present)} present none is; {first.name}: {first.trouble}"
    )


def _lacking_room(session: Session, job: Job | Row[Any], present: Sequence[Worker]) -> str:
    """Return what room the job lacks on the disk of every worker that is well; "" for none."""
    free = [worker.free_bytes for worker in present if worker.trouble is None]
    known = [found for found in free if found is not None]
    needs = room.needed_bytes(session, job.id)
    if len(known) < len(free) or max(known) >= needs:
        return ""
    return f"room on a worker's disk: {needs:,} bytes must be free, {max(known):,} are"


def _num_busy(session: Session, names: Sequence[str]) -> int:
    """Return how many of these workers hold a job."""
    query = select(func.count(Job.lease_owner.distinct())).where(
        Job.state.in_(LIVE), Job.lease_until > func.now(), Job.lease_owner.in_(names)
    )
    return session.scalars(query).one()
