"""How many tries of an export count, apart from their numbers, which never fall."""

import sqlalchemy as sa
from alembic import op

revision = "a7c2e95f4d18"
down_revision = "e4d1a86b30c7"


def upgrade() -> None:
    """Add the count; tries that were begun count from the numbers they had."""
    count = sa.Column("attempts", sa.Integer(), server_default="0", nullable=False)
    op.add_column("exports", count)
    op.execute("UPDATE exports SET attempts = number")


def downgrade() -> None:
    """Take the count away; before, the number was it."""
    op.execute("UPDATE exports SET number = attempts")
    op.drop_column("exports", "attempts")
