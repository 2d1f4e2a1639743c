"""Sweeps: jobs that were asked for together. Each is a job like any other; the sweep is a view."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from npas.spec import JobSpec
from npas.spec.sweep import SweepSpec
from npas.spec.sweep_points import SweepPoint
from pydantic import ValidationError
from sqlalchemy import Interval, String, column, delete, select, update, values
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from npas_store import deletion, idempotency, jobs
from npas_store.database import transaction
from npas_store.json_values import fingerprint
from npas_store.removal import Freed
from npas_store.states import LIVE, TERMINAL
from npas_store.tables import IdempotencyKey, Job, Json, Sweep, new_id

if TYPE_CHECKING:
    from npas.plans import Plan


class NoSuchSweepError(LookupError):
    """There is no sweep with this id."""


class SweepGoesOnError(Exception):
    """Jobs of the sweep have not ended; `num_open` of them."""

    def __init__(self, num_open: int) -> None:
        super().__init__(num_open)
        self.num_open = num_open

    def __str__(self) -> str:
        return f"{self.num_open} jobs of the sweep have not ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A job to be made for a sweep.

    Attributes:
        point: where it stands in the sweep.
        spec: the job.
        plan: that it was accepted with.
        estimate: what it is thought to take; None: not known.
    """

    point: SweepPoint
    spec: JobSpec
    plan: "Plan"
    estimate: Json | None = None


def submit(
    session: Session,
    spec: SweepSpec,
    children: Sequence[Child],
    *,
    left_out: Sequence[Json] = (),
    idempotency_key: str | None = None,
) -> tuple[str, bool]:
    """Queue all jobs of a sweep, or none, and return its id and whether it is new.

    Args:
        spec: as it was asked for.
        children: in the order in which workers are to take them.
        left_out: points that no job is made for, and why; plain JSON.
        idempotency_key: where it was used before, the id that it belongs to is returned and
            nothing is written; `is_sweep_of` tells whether it was the same request.
    """
    sweep_id = new_id("sweep")
    if idempotency_key is not None:
        known = idempotency.reserve(session, idempotency_key, _fingerprint(spec), sweep_id)
        if known != sweep_id:
            return known, False
    session.add(
        Sweep(
            id=sweep_id,
            spec=spec.model_dump(mode="json", exclude_none=True),
            labels=dict(spec.labels),
            left_out={"points": list(left_out)},
            num_jobs=len(children),
        )
    )
    session.flush()
    made = [
        jobs.create(session, child.spec, child.plan, estimate=child.estimate) for child in children
    ]
    _join(session, sweep_id, [job.id for job in made], children)
    return sweep_id, True


def is_sweep_of(session: Session, known: IdempotencyKey, spec: SweepSpec) -> bool:
    """Tell whether a used key belongs to a sweep that was made by this request."""
    sweep = session.get(Sweep, known.resource)
    if sweep is None:
        return False
    if known.request_fingerprint == _fingerprint(spec):
        return True
    try:
        return SweepSpec.model_validate_json(json.dumps(sweep.spec)) == spec
    except ValidationError:  # of a release that allowed it
        return False


def lookup(session: Session, sweep_id: str) -> Sweep:
    """Return a sweep.

    Raises:
        NoSuchSweepError: there is none.
    """
    sweep = session.get(Sweep, sweep_id)
    if sweep is None:
        raise NoSuchSweepError(f"there is no sweep {sweep_id!r}")
    return sweep


def cancel_all(session: Session, sweep_id: str) -> Sweep:
    """Ask for the end of all jobs of a sweep, as often as you like; see `jobs.request_cancel`.

    Raises:
        NoSuchSweepError: there is none.
    """
    sweep = _locked(session, sweep_id)
    sweep.cancel_requested = True
    open_jobs = (Job.sweep_id == sweep_id, Job.state.not_in(TERMINAL))
    # Those with a worker last: it beats on the row, and would wait for all the others.
    order = (Job.state.in_(LIVE), Job.id)
    for job_id in session.scalars(select(Job.id).where(*open_jobs).order_by(*order)).all():
        jobs.request_cancel(session, job_id)
    return sweep


def delete_sweep(sweep_id: str) -> tuple[int, Freed]:
    """Delete a sweep all of whose jobs have ended, and those with it.

    Returns:
        how many jobs are deleted, and what that freed.

    Raises:
        NoSuchSweepError: there is none.
        SweepGoesOnError: some of its jobs have not ended.
    """
    with transaction() as session:
        sweep = _locked(session, sweep_id)
        own = Job.sweep_id == sweep_id
        # A retry holds its parent until it is in the sweep, too: then all that join are seen.
        session.execute(select(Job.id).where(own).order_by(Job.id).with_for_update())
        states = select(Job.id, Job.state).where(own)
        found = {row.id: row.state for row in session.execute(states)}
        num_open = sum(state not in TERMINAL for state in found.values())
        if num_open:
            raise SweepGoesOnError(num_open)
        blobs = deletion.remove_jobs(session, [*found])
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource == sweep_id))
        session.delete(sweep)
    return len(found), deletion.clear([*found], blobs)


def _locked(session: Session, sweep_id: str) -> Sweep:
    """Return a sweep that nobody else changes until the end of the transaction.

    Its key may be shared: whoever writes a job twice in one transaction has the foreign key
    checked, and would wait for us with the job locked that we want next.
    """
    sweep = session.get(Sweep, sweep_id, with_for_update={"key_share": True})
    if sweep is None:
        raise NoSuchSweepError(f"there is no sweep {sweep_id!r}")
    return sweep


def _fingerprint(spec: SweepSpec) -> str:
    return fingerprint(spec.model_dump(mode="json", exclude_unset=True))


def _join(
    session: Session, sweep_id: str, job_ids: Sequence[str], children: Sequence[Child]
) -> None:
    """Put new jobs into their sweep, each a microsecond after the one before it.

    Jobs of one transaction have one time, and wait in the order of their ids, which is by chance.
    """
    rows = [
        (job_id, child.point.to_json(), timedelta(microseconds=place))
        for place, (job_id, child) in enumerate(zip(job_ids, children, strict=True))
    ]
    places = values(
        column("id", String), column("point", JSONB), column("late", Interval), name="places"
    ).data(rows)
    session.execute(
        update(Job)
        .where(Job.id == places.c.id)
        .values(
            sweep_id=sweep_id,
            sweep_point=places.c.point,
            created_at=Job.created_at + places.c.late,
            queued_at=Job.queued_at + places.c.late,
        )
        .execution_options(synchronize_session=False)
    )
