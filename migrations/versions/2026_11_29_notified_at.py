"""When workers were last told of a job."""

from alembic import op

revision = "b7e29d0c5f14"
down_revision = "8c41f7a2d360"


def upgrade() -> None:
    """Rename the column; queued and running jobs keep it."""
    op.alter_column("jobs", "rung_at", new_column_name="notified_at")


def downgrade() -> None:
    """Rename back."""
    op.alter_column("jobs", "notified_at", new_column_name="rung_at")
