"""The first tables: jobs, what happened to them, what they delivered, and the outbox."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "712308895ce3"
down_revision = None

STATES = "state IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')"
LIVE = "state IN ('running', 'cancelling')"


def _text(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), **{"nullable": False, **options})


def _integer(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), **{"nullable": False, **options})


def _count(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), **{"nullable": False, **options})


def _time(name: str, default: str | None = None, **options: Any) -> sa.Column[Any]:
    if default:
        options |= {"server_default": sa.text(default)}
    return sa.Column(name, sa.DateTime(timezone=True), **{"nullable": False, **options})


def _json(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, JSONB(none_as_null=True), **{"nullable": False, **options})


def _identity() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False)


def _of_job(table: str, *key: str) -> list[Any]:
    """Return the parts that every table about a job has: the job, and a primary key."""
    return [
        _text("job_id"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=f"fk_{table}_job_id_jobs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
    ]


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "jobs",
        *_what_was_asked(),
        *_what_becomes_of_it(),
        sa.CheckConstraint(STATES, name=op.f("ck_jobs_state")),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
    )
    queued, live = sa.text("state = 'queued'"), sa.text(LIVE)
    op.create_index("ix_jobs_claim", "jobs", ["queued_at", "id"], postgresql_where=queued)
    op.create_index("ix_jobs_lease_until", "jobs", ["lease_until"], postgresql_where=live)
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_accuracy_id", "jobs", ["accuracy", "id"])
    op.create_index("ix_jobs_labels", "jobs", ["labels"], postgresql_using="gin")
    _history()
    _results()
    _machinery()


def _what_was_asked() -> list[sa.Column[Any]]:
    return [
        _text("id"),
        _json("spec"),
        _json("labels", server_default=sa.text("'{}'")),
        _text("architecture"),
        _text("method"),
        _text("dataset"),
        _count("budget_parameters"),
        _count("dense_parameters"),
        _count("minimum_parameters"),
        _count("parameters"),
        _text("idempotency_key", nullable=True),
        _text("request_fingerprint"),
        sa.Column(
            "cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
    ]


def _what_becomes_of_it() -> list[sa.Column[Any]]:
    return [
        _text("state", server_default="queued"),
        _text("phase", nullable=True),
        sa.Column("progress", sa.Float(), server_default="0", nullable=False),
        sa.Column("eta_seconds", sa.Float(), nullable=True),
        _json("reason", nullable=True),
        _json("result", nullable=True),
        sa.Column("accuracy", sa.Float(), nullable=True),
        _time("created_at", "now()"),
        _time("queued_at", "now()"),
        _time("due_at", "now()"),
        _time("rung_at", nullable=True),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
        _integer("epoch", server_default="0"),
        _integer("attempt", server_default="0"),
        _integer("losses", server_default="0"),
        _text("lease_owner", nullable=True),
        _time("lease_until", nullable=True),
        _integer("threads", nullable=True),
        _integer("event_seq", server_default="0"),
    ]


def _history() -> None:
    op.create_table(
        "transitions",
        _identity(),
        *_of_job("transitions", "id"),
        _text("from_state", nullable=True),
        _text("to_state"),
        _time("at", "clock_timestamp()"),
        _integer("epoch"),
        _integer("attempt"),
        _json("reason", nullable=True),
    )
    op.create_index("ix_transitions_job_id_id", "transitions", ["job_id", "id"])
    op.create_table(
        "attempts",
        *_of_job("attempts", "job_id", "epoch"),
        _integer("epoch"),
        _integer("attempt"),
        _text("worker"),
        _time("started_at", "now()"),
        _time("ended_at", nullable=True),
        _text("outcome", nullable=True),
        _count("resumed_from_step", nullable=True),
    )
    op.create_table(
        "events",
        *_of_job("events", "job_id", "seq"),
        _integer("seq"),
        _time("at", "clock_timestamp()"),
        _text("level"),
        _text("type"),
        _text("message"),
        _json("data", server_default=sa.text("'{}'")),
        sa.CheckConstraint("level IN ('info', 'warning', 'error')", name=op.f("ck_events_level")),
    )


def _results() -> None:
    op.create_table(
        "metrics",
        *_of_job("metrics", "job_id", "stage", "epoch"),
        _text("stage"),
        _integer("epoch"),
        _time("at", "clock_timestamp()"),
        _json("values"),
    )
    op.create_table(
        "plans",
        *_of_job("plans", "job_id", "version"),
        _integer("version"),
        _time("at", "now()"),
        _text("document"),
    )
    op.create_table(
        "artifacts",
        *_of_job("artifacts", "job_id", "name"),
        _text("name"),
        _text("kind"),
        _text("media_type"),
        _count("bytes"),
        _text("sha256"),
        _time("created_at", "now()"),
    )


def _machinery() -> None:
    op.create_table(
        "resume_files",
        _identity(),
        *_of_job("resume_files", "id"),
        _integer("epoch"),
        _count("step"),
        _text("path"),
        _count("bytes"),
        _text("sha256"),
        _time("created_at", "now()"),
        sa.UniqueConstraint("job_id", "path", name="uq_resume_files_job_id_path"),
    )
    op.create_index("ix_resume_files_job_id_id", "resume_files", ["job_id", "id"])
    op.create_table("outbox", _identity(), *_of_job("outbox", "id"), _time("due_at", "now()"))
    op.create_index("ix_outbox_due_at", "outbox", ["due_at"])
    op.create_table(
        "workers",
        _text("name"),
        _time("started_at", "now()"),
        _time("seen_at", "now()"),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )


def downgrade() -> None:
    """Drop them, with all that they hold."""
    for table in (
        *("workers", "outbox", "resume_files", "artifacts", "plans", "metrics"),
        *("events", "attempts", "transitions", "jobs"),
    ):
        op.drop_table(table)
