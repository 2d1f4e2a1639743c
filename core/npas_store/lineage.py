"""Jobs that are made of others. An ended job never changes: whatever goes on is a new one."""

from npas.errors import PlanError
from npas.plans import Plan
from npas.spec import JobSpec
from sqlalchemy.orm import Session

from npas_store import artifacts, events, jobs, plans, resume_files
from npas_store.jobs import NoSuchJobError, Origin
from npas_store.states import is_terminal
from npas_store.tables import Artifact, Job, Json


class NoParentError(NoSuchJobError):
    """The job that another one is to be made of is not there."""


MODEL = "model.safetensors"
"""The artifact that a continuation starts from."""


def asked_again(job: Job) -> Json:
    """Return the spec that a job of this one starts from: as it was asked, as it is called now."""
    return {**job.spec, "labels": dict(job.labels), "priority": job.priority}


def joined(job: Job) -> Json:
    """Return the start of a job whose networks join those of it; empty of any other job."""
    start: Json = job.spec.get("start") or {}
    return start if start.get("join") else {}


def is_of_sizes(job: Job) -> bool:
    """Tell whether a job searched sizes of its network: what it delivered may be of another."""
    search: Json = job.spec.get("search") or {}
    return bool(search.get("scale"))


def is_retryable(job: Job) -> bool:
    """Tell whether a job ended without success, or before it had done all it was asked for."""
    return is_terminal(job.state) and (job.state != "succeeded" or job.reason is not None)


def delivered_plan(session: Session, job_id: str) -> Plan:
    """Return the plan of the network that a job delivered.

    Raises:
        PlanError: it is of a release that this one cannot read.
    """
    return Plan.from_json(plans.versions(session, job_id)[-1].document)


def delivered_network(session: Session, job_id: str) -> Artifact | None:
    """Return the network that a job delivered; None: it delivered none."""
    return artifacts.find(session, job_id, MODEL)


def descend(
    session: Session,
    spec: JobSpec,
    plan: Plan,
    idempotency_key: str | None,
    origin: Origin,
    *,
    estimate: Json | None = None,
) -> Job:
    """Queue a job that is made of another; see `jobs.create`.

    A retry has the files that its parent left to go on from, and then the plan that the parent
    was accepted with: they go together. Where there are none any more, it starts anew.

    Raises:
        NoParentError: it was deleted.
        NoSuchJobError: the key belongs to what is no job.
    """
    parent = hold_parent(session, origin)
    earlier = _plan_to_go_on_with(session, parent) if origin.relation == "retry" else None
    job = jobs.create(
        session, spec, earlier or plan, idempotency_key, origin=origin, estimate=estimate
    )
    if not jobs.is_new(session, job):
        return job
    if origin.relation == "retry":  # where the parent stands in a sweep, it is what counts
        job.sweep_id, job.sweep_point = parent.sweep_id, parent.sweep_point
    step = None
    if earlier is not None:
        step = resume_files.adopt(session, parent.id, job.id)
    how = f", after step {step}" if step is not None else ""
    data = {"parent": parent.id, "relation": origin.relation, "step": step}
    events.append(session, job.id, "origin", f"{origin.relation} of {parent.id}{how}", data)
    session.refresh(job)
    return job


def hold_parent(session: Session, origin: Origin) -> Job:
    """Return the job that another is made of, which is not deleted until the transaction ends.

    Raises:
        NoParentError: it was deleted.
    """
    locks = {"read": True, "key_share": True}
    job = session.get(Job, origin.parent_id, with_for_update=locks)
    if job is None:
        raise NoParentError(f"there is no job {origin.parent_id!r}")
    return job


def _plan_to_go_on_with(session: Session, parent: Job) -> Plan | None:
    """Return the plan that a job was accepted with, where its files may be gone on from.

    None where the plan itself was what it failed for, or can no longer be read.
    """
    was_outdated = parent.reason is not None and parent.reason.get("code") == "plan_outdated"
    if was_outdated or not resume_files.are_there(session, parent.id):
        return None
    try:
        return Plan.from_json(plans.versions(session, parent.id)[0].document)
    except PlanError:
        return None
