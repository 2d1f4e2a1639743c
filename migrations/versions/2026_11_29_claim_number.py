"""The number of a claim is no longer called an epoch, which is a pass over the data."""

from alembic import op

revision = "8c41f7a2d360"
down_revision = "5b1e0c7d42a9"

TABLES = ("jobs", "transitions", "attempts", "resume_files")


def upgrade() -> None:
    """Rename the columns; queued and running jobs keep theirs."""
    for table in TABLES:
        op.alter_column(table, "epoch", new_column_name="claim_number")


def downgrade() -> None:
    """Rename back."""
    for table in TABLES:
        op.alter_column(table, "claim_number", new_column_name="epoch")
