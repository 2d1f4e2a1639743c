"""The folder that belongs to the database."""

import sqlalchemy as sa
from alembic import op

revision = "2f0d6c1b9a47"
down_revision = "712308895ce3"


def upgrade() -> None:
    """Make room for its id."""
    op.create_table(
        "home",
        sa.Column("is_only", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column(
            "settled_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
        ),
        sa.CheckConstraint("is_only", name=op.f("ck_home_is_only")),
        sa.PrimaryKeyConstraint("is_only", name="pk_home"),
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("home")
