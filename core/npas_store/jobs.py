"""Jobs as their users see them: create, look up, change, cancel. The worker's half is `claims`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from npas.spec import FIRST_DEFAULT, JobSpec, MethodSpec
from pydantic import ValidationError
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from npas_store import datasets, events, idempotency, resume_files, submission, transitions
from npas_store.json_values import fingerprint
from npas_store.states import is_terminal
from npas_store.tables import Attempt, Job, Json, OutboxMessage, new_id

if TYPE_CHECKING:
    from npas.plans import Plan


Relation = Literal["clone", "retry", "continue"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Which job another one is made of, and how.

    Attributes:
        parent_id: of that job.
        relation: to it.
        request: what was asked for, which tells a repeated request from another one.
        adjustments: that losses of the parent made, which go on to hold.
    """

    parent_id: str
    relation: Relation
    request: Json
    adjustments: Json = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Of the request."""
        asked = {"parent": self.parent_id, "relation": self.relation, "request": self.request}
        return fingerprint(asked)

    def is_of(self, job: Job) -> bool:
        """Tell whether a job was made by this request."""
        return job.request_fingerprint == self.fingerprint


class NoSuchJobError(LookupError):
    """There is no job with this id."""


_TRIES = 5
"""To make a job under a key that others use and delete meanwhile."""


class OtherSchemaError(Exception):
    """The database is at another revision than the caller knows."""


def document(spec: JobSpec) -> Json:
    """Return a spec as it is stored: what is not said has its meaning of today, written out."""
    return spec.model_dump(mode="json", exclude_none=True)


def is_asked_by(job: Job, spec: JobSpec) -> bool:
    """Tell whether a job was made by this request: the same words, or the same meaning.

    Releases may have passed since, with new fields, and with other defaults for what was not said.
    Of the first, the words are not known: its fingerprint is of the meaning that they had then.
    """
    if job.request_fingerprint == fingerprint(_asked(spec)):
        return True
    if job.relation is not None:
        return False
    try:
        stored = type(spec).model_validate_json(json.dumps(job.spec))
        is_of_first = job.request_fingerprint == fingerprint(job.spec)
        if is_of_first and "method" not in spec.model_fields_set:
            return stored == spec.model_copy(update={"method": MethodSpec(name=FIRST_DEFAULT)})
        return stored == spec
    except ValidationError:  # of a release that allowed it
        return False


def _asked(spec: JobSpec) -> Json:
    """Return the fields that a request set, without defaults."""
    return spec.model_dump(mode="json", exclude_unset=True)


def create(
    session: Session,
    spec: JobSpec,
    plan: "Plan",
    idempotency_key: str | None = None,
    *,
    origin: Origin | None = None,
    estimate: Json | None = None,
) -> Job:
    """Queue a job, or find the one that an idempotency key made; see `create_once`."""
    made = create_once(session, spec, plan, idempotency_key, origin=origin, estimate=estimate)
    return made[0]


def create_once(
    session: Session,
    spec: JobSpec,
    plan: "Plan",
    idempotency_key: str | None = None,
    *,
    origin: Origin | None = None,
    estimate: Json | None = None,
    plan_json: str | None = None,
    schema: str | None = None,
) -> tuple[Job, bool]:
    """Queue a job: row, history, plan and the message for the workers, all or none of them.

    With an idempotency key that was used before, the job that it made is returned and nothing is
    written; `is_asked_by`, or `Origin.is_of`, tells whether it was the same request. It is one
    statement, so a session of `database.autocommitting` will do where nothing has to be held until
    then: a dataset that a user sent, or what the job is made of.

    Args:
        plan: the allocation the job was accepted with; the worker trains it, or refines it.
        origin: the job that it is made of; None: of none.
        estimate: what it is thought to take, see `npas_store.estimates`; None: not known.
        plan_json: the plan as JSON, where that is known; None: it is made.
        schema: revision that the database must be at for a new job; None: any.

    Returns:
        the job, and whether it is new.

    Raises:
        DataError: its dataset is one that a user sent, and was deleted meanwhile.
        NoSuchJobError: what was made under the key is no job, or is no more.
        OtherSchemaError: the database is at another revision.
    """
    values = _columns(session, spec, plan, origin) | {"estimate": estimate}
    for _ in range(_TRIES):
        job = submission.write(
            session,
            values,
            plan_json or plan.to_json(),
            idempotency_key=idempotency_key,
            schema=schema,
        )
        if job is not None:
            return job, True
        if idempotency_key is None:
            break
        if known := idempotency.known(session, idempotency_key):
            return get(session, known.resource), False
        # Else what was made under the key was deleted just now, and the key with it.
    raise OtherSchemaError(f"the database is not at {schema}")


def _columns(session: Session, spec: JobSpec, plan: "Plan", origin: Origin | None) -> Json:
    """Return what a new job's row holds."""
    is_joining = spec.start is not None and spec.start.join
    networks = plan.networks if is_joining else spec.members()
    values: dict[str, Any] = {
        "id": new_id("job"),
        "spec": document(spec),
        "labels": dict(spec.labels),
        "priority": spec.priority,
        "architecture": " + ".join(each.architecture.name for each in networks),
        "method": plan.method,
        "dataset": spec.dataset.name,
        "dataset_sha256": datasets.chosen(session, spec.dataset.name),
        "budget_parameters": plan.ledger.budget,
        "dense_parameters": plan.dense,
        "minimum_parameters": plan.minimum,
        "parameters": plan.ledger.total,
        "request_fingerprint": fingerprint(_asked(spec)) if origin is None else origin.fingerprint,
        "start_sha256": spec.start.checkpoint if spec.start else None,
    }
    if origin is not None:
        values |= {"parent_id": origin.parent_id, "relation": origin.relation}
        values |= {"adjustments": origin.adjustments}
    return values


def is_new(session: Session, job: Job) -> bool:
    """Tell whether `create` wrote the job in this transaction, or found it."""
    written = text("SELECT xmin = pg_current_xact_id()::xid FROM jobs WHERE id = :id")
    return bool(session.scalar(written, {"id": job.id}))


def get(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        NoSuchJobError: there is none.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NoSuchJobError(f"there is no job {job_id!r}")
    return job


def locked(session: Session, job_id: str) -> Job:
    """Return a job that nobody else changes until the end of the transaction.

    Raises:
        NoSuchJobError: there is none.
    """
    job = session.get(Job, job_id, with_for_update=True)
    if job is None:
        raise NoSuchJobError(f"there is no job {job_id!r}")
    return job


def change(session: Session, job: Job, *, labels: Mapping[str, str], priority: int) -> None:
    """Change what users may change of a job, and count its revision.

    What was asked for, `Job.spec`, stays as it was. The same values once more change nothing.

    Args:
        job: from `locked`; one that has ended can be changed too, its state and result stay.
    """
    if (job.labels, job.priority) == (dict(labels), priority):
        return
    message = f"changed: priority {priority}, labels: {len(labels)}"
    job.labels, job.priority, job.revision = dict(labels), priority, job.revision + 1
    session.flush()
    data = {"labels": dict(labels), "priority": priority, "revision": job.revision}
    events.append(session, job.id, "changed", message, data)


def request_cancel(session: Session, job_id: str) -> Job:
    """Ask for a job's end, as often as you like, and return it.

    A queued job is cancelled at once, unless an earlier attempt of its own left files: then it
    stays queued, for a worker to deliver the best network that they hold. A running one becomes
    `cancelling`: its worker delivers the best network so far, then ends it. An ended one stays as
    it is.

    Raises:
        NoSuchJobError: there is none.
    """
    job = locked(session, job_id)
    if is_terminal(job.state) or job.cancel_requested:
        return job
    before, job.cancel_requested = job.state, True
    message = "stopping at the next step, the best network so far is kept"
    why = transitions.reason("user_cancelled", message)
    if before == "queued" and job.claim_number and resume_files.are_there(session, job_id):
        job.due_at = func.now()  # the pause after a loss is for the training
        session.add(OutboxMessage(job_id=job_id))
        message = "stopping; waiting for a worker to deliver the best network so far"
        why = transitions.reason("user_cancelled", message)
        job.reason = why
    elif before == "queued":
        message = "cancelled before " + (
            "a network was saved" if job.claim_number else "it started"
        )
        why = transitions.reason("user_cancelled", message, hint=transitions.ANEW)
        job.state, job.reason, job.finished_at = "cancelled", why, func.now()
    else:
        job.state = "cancelling"
    session.flush()
    transitions.moved(session, job, before=before, message=message, why=why)
    session.refresh(job)
    return job


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    """Return every claim of a job, the oldest first."""
    query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.claim_number)
    return session.scalars(query).all()
