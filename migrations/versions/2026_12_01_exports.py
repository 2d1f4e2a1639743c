"""Files that are made of a delivered network for other programs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "e4d1a86b30c7"
down_revision = "c93f5a1e7b28"


def upgrade() -> None:
    """Add the table; no job has exports yet."""
    now = sa.text("now()")
    op.create_table(
        "exports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("request_fingerprint", sa.Text(), nullable=False),
        sa.Column("spec", JSONB(none_as_null=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("reason", JSONB(none_as_null=True)),
        sa.Column("artifact", sa.Text()),
        sa.Column("facts", JSONB(none_as_null=True)),
        sa.Column("number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed')", name=op.f("ck_exports_state")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_exports_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
        sa.UniqueConstraint(
            "job_id", "request_fingerprint", name=op.f("uq_exports_job_id_request_fingerprint")
        ),
    )
    op.create_index(
        op.f("ix_exports_waiting"),
        "exports",
        ["created_at", "id"],
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )


def downgrade() -> None:
    """Take the table away; artifacts that were made stay with their jobs."""
    op.drop_table("exports")
