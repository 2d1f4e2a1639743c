"""The whole life of a job: priorities, parents, sweeps, keys, datasets that users send."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "c93f5a1e7b28"
down_revision = "b7e29d0c5f14"

DATASET_STATES = "state IN ('uploading', 'processing', 'ready', 'invalid')"


def _column(name: str, kind: Any, default: str | None = None, **options: Any) -> sa.Column[Any]:
    if default is not None:
        options |= {"server_default": sa.text(default)}
    return sa.Column(name, kind, **{"nullable": False, **options})


def _text(name: str, **options: Any) -> sa.Column[Any]:
    return _column(name, sa.Text(), **options)


def _integer(name: str, **options: Any) -> sa.Column[Any]:
    return _column(name, sa.Integer(), default="'0'", **options)


def _count(name: str, **options: Any) -> sa.Column[Any]:
    return _column(name, sa.BigInteger(), **options)


def _json(name: str, **options: Any) -> sa.Column[Any]:
    return _column(name, JSONB(none_as_null=True), **options)


def _time(name: str, default: str | None = None, **options: Any) -> sa.Column[Any]:
    return _column(name, sa.DateTime(timezone=True), default, **options)


def upgrade() -> None:
    """Make room; waiting and running jobs stay as they are, keys move to a table of their own."""
    _make_sweeps()
    _widen_jobs()
    op.add_column("attempts", _count("reached_step", nullable=True))
    op.add_column("workers", _count("free_bytes", nullable=True))
    op.add_column("workers", _text("machine", nullable=True))
    op.create_index("ix_artifacts_sha256", "artifacts", ["sha256"])
    _move_keys()
    _make_datasets()
    _make_measurements()


def _make_sweeps() -> None:
    op.create_table(
        "sweeps",
        _text("id"),
        _json("spec"),
        _json("labels", default="'{}'"),
        _json("left_out", nullable=True),
        _integer("num_jobs"),
        _column("cancel_requested", sa.Boolean(), "false"),
        _time("created_at", "now()"),
        sa.PrimaryKeyConstraint("id", name="pk_sweeps"),
    )
    op.create_index("ix_sweeps_created_at_id", "sweeps", ["created_at", "id"])


def _widen_jobs() -> None:
    columns = (
        _integer("priority"),
        _integer("revision"),
        _json("adjustments", default="'{}'"),
        _json("estimate", nullable=True),
        _text("parent_id", nullable=True),
        _text("relation", nullable=True),
        _text("start_sha256", nullable=True),
        _text("sweep_id", nullable=True),
        _json("sweep_point", nullable=True),
        _text("dataset_sha256", nullable=True),
    )
    for column in columns:
        op.add_column("jobs", column)
    for column_name, table, deleted in (
        ("parent_id", "jobs", "SET NULL"),
        ("sweep_id", "sweeps", "CASCADE"),
    ):
        name = f"fk_jobs_{column_name}_{table}"
        op.create_foreign_key(name, "jobs", table, [column_name], ["id"], ondelete=deleted)
    op.drop_index("ix_jobs_claim", table_name="jobs")
    queued = sa.text("state = 'queued'")
    order = [sa.text("priority DESC"), "queued_at", "id"]
    op.create_index("ix_jobs_claim", "jobs", order, postgresql_where=queued)
    op.create_index("ix_jobs_finished_at_id", "jobs", ["finished_at", "id"])
    op.create_index("ix_jobs_parent_id", "jobs", ["parent_id"])
    op.create_index("ix_jobs_sweep_id_id", "jobs", ["sweep_id", "id"])
    op.create_index("ix_jobs_start_sha256", "jobs", ["start_sha256"])


def _move_keys() -> None:
    op.create_table(
        "idempotency_keys",
        _text("key"),
        _text("request_fingerprint"),
        _text("resource"),
        _time("created_at", "now()"),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    for name in ("created_at", "resource"):
        op.create_index(f"ix_idempotency_keys_{name}", "idempotency_keys", [name])
    op.execute(
        "INSERT INTO idempotency_keys (key, request_fingerprint, resource, created_at) "
        "SELECT idempotency_key, request_fingerprint, id, created_at FROM jobs "
        "WHERE idempotency_key IS NOT NULL"
    )
    op.drop_constraint("uq_jobs_idempotency_key", "jobs", type_="unique")
    op.drop_column("jobs", "idempotency_key")


def _make_datasets() -> None:
    op.create_table(
        "datasets",
        *(_text("id"), _text("name"), _text("state", default="'uploading'"), _text("format")),
        *(_json("options", default="'{}'"), _json("labels", default="'{}'")),
        _count("upload_bytes"),
        _text("upload_sha256", nullable=True),
        _count("received_bytes", default="'0'"),
        *(_json(name, nullable=True) for name in ("facts", "report", "reason")),
        _text("content_sha256", nullable=True),
        _count("content_bytes", nullable=True),
        _text("thumbnails_sha256", nullable=True),
        _integer("check_number"),
        _time("lease_until", nullable=True),
        _time("created_at", "now()"),
        _time("received_at", nullable=True),
        _time("finished_at", nullable=True),
        sa.CheckConstraint(DATASET_STATES, name=op.f("ck_datasets_state")),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_created_at_id", "datasets", ["created_at", "id"])
    op.create_index("ix_datasets_name", "datasets", ["name"])
    op.create_index("ix_datasets_content_sha256", "datasets", ["content_sha256"])


def _make_measurements() -> None:
    op.create_table(
        "measurements",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _time("at", "now()"),
        *(_text("machine"), _text("kind"), _json("facts")),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
    )
    columns = ["machine", "kind", "id"]
    op.create_index("ix_measurements_machine_kind_id", "measurements", columns)


def downgrade() -> None:
    """Go back; what earlier releases have no place for is lost, their jobs are not."""
    op.drop_index("ix_artifacts_sha256", table_name="artifacts")
    op.drop_table("measurements")
    op.drop_table("datasets")
    op.add_column("jobs", _text("idempotency_key", nullable=True))
    op.execute(
        "UPDATE jobs SET idempotency_key = key FROM ("
        "SELECT DISTINCT ON (resource) resource, key FROM idempotency_keys "
        "ORDER BY resource, created_at, key) AS keys WHERE resource = jobs.id"
    )
    op.create_unique_constraint("uq_jobs_idempotency_key", "jobs", ["idempotency_key"])
    op.drop_table("idempotency_keys")
    op.drop_column("workers", "machine")
    op.drop_column("workers", "free_bytes")
    op.drop_column("attempts", "reached_step")
    op.drop_index("ix_jobs_claim", table_name="jobs")
    queued = sa.text("state = 'queued'")
    op.create_index("ix_jobs_claim", "jobs", ["queued_at", "id"], postgresql_where=queued)
    op.drop_index("ix_jobs_finished_at_id", table_name="jobs")
    names = ("sweep_point", "sweep_id", "start_sha256", "relation", "parent_id", "estimate")
    for name in (*names, "dataset_sha256", "adjustments", "revision", "priority"):
        op.drop_column("jobs", name)
    op.drop_table("sweeps")
