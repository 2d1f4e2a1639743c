"""What a worker says of its own health."""

import sqlalchemy as sa
from alembic import op

revision = "5b1e0c7d42a9"
down_revision = "2f0d6c1b9a47"


def upgrade() -> None:
    """Make room for its trouble, and for the memory of its device."""
    op.add_column("workers", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Forget both."""
    op.drop_column("workers", "memory_bytes")
    op.drop_column("workers", "trouble")
