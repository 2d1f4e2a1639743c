"""The tables, as SQLAlchemy maps them. Times are the database's own, always with a zone."""

import secrets
import time
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from npas_store.states import DATASET_STATES, LIVE, STATES

Json = dict[str, Any]


def new_id(prefix: str) -> str:
    """Return prefix + "_" + a UUIDv7 in hex: unguessable, and sorts by the time of creation."""
    milliseconds = int(time.time() * 1000)
    number = milliseconds << 80 | 7 << 76 | secrets.randbits(76)
    number = number & ~(3 << 62) | 2 << 62  # the variant of RFC 9562
    return f"{prefix}_{number:032x}"


def _among(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Row(DeclarativeBase):
    """Root of all tables; every constraint gets a name that a migration can use."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        str: Text,
        datetime: DateTime(timezone=True),
        Json: JSONB(none_as_null=True),
        float: Float,
        bool: Boolean,
    }


_NOW = func.now()


def _job_id(*, is_key: bool = False) -> Mapped[str]:
    return mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=is_key)


class Job(Row):
    """One request to train. This row is the queue, the lock and the truth."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(server_default="queued")
    phase: Mapped[str | None]
    progress: Mapped[float] = mapped_column(server_default="0")
    eta_seconds: Mapped[float | None]
    reason: Mapped[Json | None]
    result: Mapped[Json | None]

    spec: Mapped[Json]
    labels: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    architecture: Mapped[str]
    method: Mapped[str]
    dataset: Mapped[str]
    budget_parameters: Mapped[int] = mapped_column(BigInteger)
    dense_parameters: Mapped[int] = mapped_column(BigInteger)
    minimum_parameters: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[int] = mapped_column(BigInteger)
    accuracy: Mapped[float | None]

    request_fingerprint: Mapped[str]
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))

    priority: Mapped[int] = mapped_column(server_default="0")
    """Higher ones are claimed first."""
    revision: Mapped[int] = mapped_column(server_default="0")
    """Changes by users, of labels or priority."""
    adjustments: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """What losses made the training do otherwise, such as smaller micro-batches."""
    estimate: Mapped[Json | None]
    """What it was thought to take when it was accepted."""
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    relation: Mapped[str | None]
    """To the parent: clone, retry or continue."""
    start_sha256: Mapped[str | None]
    """Blob of the model file that the training starts from."""
    sweep_id: Mapped[str | None] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"))
    sweep_point: Mapped[Json | None]
    """Where it stands in its sweep: budget, method, network, seed."""
    dataset_sha256: Mapped[str | None]  # of its arrays, where a user sent them

    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    queued_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    due_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    """Not to be claimed before this: the pause after a loss."""
    notified_at: Mapped[datetime | None]
    """When it was last announced again."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    claim_number: Mapped[int] = mapped_column(server_default="0")
    """Claims so far; every write of a worker names the one it was given."""
    attempt: Mapped[int] = mapped_column(server_default="0")
    """Claims that count: a worker that was asked to leave gives its one back."""
    losses: Mapped[int] = mapped_column(server_default="0")
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    threads: Mapped[int | None]
    event_seq: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        CheckConstraint(_among("state", STATES), name="state"),
        Index(
            "ix_jobs_claim",
            *(text("priority DESC"), "queued_at", "id"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index("ix_jobs_lease_until", "lease_until", postgresql_where=text(_among("state", LIVE))),
        Index("ix_jobs_created_at_id", "created_at", "id"),
        Index("ix_jobs_accuracy_id", "accuracy", "id"),
        Index("ix_jobs_labels", "labels", postgresql_using="gin"),
        Index(None, "finished_at", "id"),
        Index(None, "parent_id"),
        Index(None, "sweep_id", "id"),
        Index(None, "start_sha256"),
    )


class Transition(Row):
    """One change of a job's state; never rewritten."""

    __tablename__ = "transitions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = _job_id()
    from_state: Mapped[str | None]
    to_state: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    claim_number: Mapped[int]
    attempt: Mapped[int]
    reason: Mapped[Json | None]

    __table_args__ = (Index(None, "job_id", "id"),)


class Attempt(Row):
    """One claim of a job by a worker, and how it ended."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = _job_id(is_key=True)
    claim_number: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int]
    worker: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    """succeeded, failed, cancelled, drained, or the code of a loss."""
    resumed_from_step: Mapped[int | None] = mapped_column(BigInteger)
    reached_step: Mapped[int | None] = mapped_column(BigInteger)
    """Of the newest resume file that it registered."""


class Event(Row):
    """Something worth telling the user; numbered without gaps inside a job."""

    __tablename__ = "events"

    job_id: Mapped[str] = _job_id(is_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    level: Mapped[str]
    type: Mapped[str]
    message: Mapped[str]
    data: Mapped[Json] = mapped_column(server_default=text("'{}'"))

    __table_args__ = (
        CheckConstraint(_among("level", ("info", "warning", "error")), name="level"),
    )


class Metric(Row):
    """One epoch of training; a resumed job reports it again, and the last word stays."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = _job_id(is_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Of the training, from 1."""
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    values: Mapped[Json]


class PlanVersion(Row):
    """An allocation of a job: version 0 is the one it was accepted with."""

    __tablename__ = "plans"

    job_id: Mapped[str] = _job_id(is_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=_NOW)
    document: Mapped[str]
    """JSON as the library wrote it, byte for byte."""


class Artifact(Row):
    """A file that a job delivered; the bytes lie in the blob store under their hash."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = _job_id(is_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    media_type: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    __table_args__ = (Index(None, "sha256"),)


class ResumeFile(Row):
    """A file from which a new attempt can go on."""

    __tablename__ = "resume_files"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = _job_id()
    claim_number: Mapped[int]
    step: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str]
    """Relative to the folder of all jobs."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    __table_args__ = (UniqueConstraint("job_id", "path"), Index(None, "job_id", "id"))


class IdempotencyKey(Row):
    """A key under which something was made: the same key and request make nothing more."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    request_fingerprint: Mapped[str]
    resource: Mapped[str]
    """Id of what was made."""
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    __table_args__ = (Index(None, "created_at"), Index(None, "resource"))


class Sweep(Row):
    """Jobs that were asked for together: every method at every budget, and so on."""

    __tablename__ = "sweeps"

    id: Mapped[str] = mapped_column(primary_key=True)
    spec: Mapped[Json]
    labels: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    left_out: Mapped[Json | None]
    """Points that no job was made for, and why."""
    num_jobs: Mapped[int] = mapped_column(server_default="0")
    """Jobs that were made; fewer are there once some are deleted."""
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    __table_args__ = (Index(None, "created_at", "id"),)


class Dataset(Row):
    """Images that a user sent: uploaded in parts, checked, then immutable."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="uploading")
    format: Mapped[str]
    """Of the upload: npz, images or parquet."""
    options: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """How it is read: size, split."""
    labels: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    upload_bytes: Mapped[int] = mapped_column(BigInteger)
    upload_sha256: Mapped[str | None]
    received_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    facts: Mapped[Json | None]
    report: Mapped[Json | None]
    reason: Mapped[Json | None]
    content_sha256: Mapped[str | None]
    """Blob of the arrays that jobs read."""
    content_bytes: Mapped[int | None] = mapped_column(BigInteger)
    thumbnails_sha256: Mapped[str | None]
    """Blob of the picture to look at."""
    check_number: Mapped[int] = mapped_column(server_default="0")
    """Checks begun so far; every write of a check names the one it was given."""
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    received_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(_among("state", DATASET_STATES), name="state"),
        Index(None, "created_at", "id"),
        Index(None, "name"),
        Index(None, "content_sha256"),
    )


class Measurement(Row):
    """How fast a training was, and what it took: estimates are made of these."""

    __tablename__ = "measurements"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=_NOW)
    machine: Mapped[str]
    """Host, device and threads."""
    kind: Mapped[str]
    """What trainings must have in common to be as fast as each other."""
    facts: Mapped[Json]

    __table_args__ = (Index(None, "machine", "kind", "id"),)


class OutboxMessage(Row):
    """The outbox: a message that a worker is to hear, kept until the broker has it."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = _job_id()
    due_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    __table_args__ = (Index(None, "due_at"),)


class Worker(Row):
    """A worker process that lives, or lived."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    seen_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    trouble: Mapped[str | None]
    """Why it takes no jobs; none: it does."""
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """What one training may use there, on its device."""
    free_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Room on the disk of its home."""
    machine: Mapped[str | None]
    """Host, device and threads, as measurements name it."""


class Home(Row):
    """The folder of the files that rows name; one row, once a service has run."""

    __tablename__ = "home"

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    id: Mapped[str]
    place: Mapped[str]
    """Host and path where it was first used, for people."""
    settled_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    __table_args__ = (CheckConstraint("is_only", name="is_only"),)
