"""What trainings took, as workers measured it; of each kind and machine the newest are kept."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import case, delete, func, select
from sqlalchemy.orm import Session

from npas_store.json_values import finite
from npas_store.settings import settings
from npas_store.tables import Attempt, Measurement, Worker

PROBE = "probe"
"""The kind of what a worker measures by itself when it starts."""

KEPT_OF_A_KIND, KEPT_OF_A_MACHINE, KEPT = 20, 500, 5000
READ = 400
"""Measurements that are learned from at a time, the newest."""


def record(session: Session, machine: str, kind: str, facts: Mapping[str, Any]) -> None:
    """Keep a measurement, and forget the oldest beyond what is kept.

    Args:
        machine: host, device and threads, see `npas_store.machine.named`.
        kind: of the training, see `npas.jobs.workload.Workload`; or PROBE.
        facts: what `npas_store.estimates` reads.
    """
    session.add(Measurement(machine=machine, kind=kind, facts=finite(facts)))
    session.flush()
    of_machine = Measurement.machine == machine
    for most, chosen in (
        (KEPT_OF_A_KIND, (of_machine, Measurement.kind == kind)),
        (KEPT_OF_A_MACHINE, (of_machine,)),
        (KEPT, ()),
    ):
        newest = select(Measurement.id).where(*chosen).order_by(Measurement.id.desc())
        oldest_kept = newest.offset(most - 1).limit(1).scalar_subquery()
        session.execute(delete(Measurement).where(*chosen, Measurement.id < oldest_kept))


def is_known(session: Session, machine: str, kind: str, *, hours: float) -> bool:
    """Tell whether something of a kind was measured on a machine in the last hours."""
    recent = Measurement.at > func.now() - timedelta(hours=hours)
    of_kind = (Measurement.machine == machine, Measurement.kind == kind)
    return session.scalar(select(Measurement.id).where(*of_kind, recent).limit(1)) is not None


def of_workers(session: Session) -> tuple[list[str], Sequence[Measurement]]:
    """Return the machines of the workers that are there, and what was measured on them.

    Where no worker is there, those that were there today count: they come back.
    """
    since = func.now() - timedelta(seconds=settings().lease_seconds)
    is_there = func.bool_or(Worker.seen_at > since)
    known = (
        select(Worker.machine, is_there.label("is_there"))
        .where(Worker.machine.is_not(None))
        .group_by(Worker.machine)
        .subquery()
    )
    query = (
        select(known.c.machine, known.c.is_there, Measurement)
        .outerjoin(Measurement, Measurement.machine == known.c.machine)
        .order_by(case((known.c.is_there, 0), else_=1), Measurement.id.desc())
        .limit(READ)
    )
    rows = session.execute(query).all()
    present = [row for row in rows if row.is_there] or rows
    machines = sorted({row.machine for row in present})
    return machines, [row.Measurement for row in present if row.Measurement is not None]


def seconds_held(session: Session, job_id: str, claim_number: int) -> tuple[float, float]:
    """Return for how long workers held a job, and for how long this claim did, until now."""
    ends = func.coalesce(Attempt.ended_at, func.clock_timestamp())
    seconds = func.extract("epoch", ends - Attempt.started_at)
    own = case((Attempt.claim_number == claim_number, seconds), else_=0)
    query = select(func.sum(seconds), func.sum(own)).where(Attempt.job_id == job_id)
    whole, last = session.execute(query).one()
    return float(whole or 0), float(last or 0)
