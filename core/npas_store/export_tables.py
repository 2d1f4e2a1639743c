"""The table of exports, as SQLAlchemy maps it; the others are in `tables`."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from npas_store.tables import Json, Row

EXPORT_STATES = ("queued", "running", "succeeded", "failed")
"""In the order in which an export goes through them."""


class Export(Row):
    """A file that is to be made of a delivered network, for programs that read no npas."""

    __tablename__ = "exports"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    request_fingerprint: Mapped[str]
    spec: Mapped[Json]
    state: Mapped[str] = mapped_column(server_default="queued")
    reason: Mapped[Json | None]
    artifact: Mapped[str | None]
    """Name of the artifact of the job that it became."""
    facts: Mapped[Json | None]
    """How large it is, and how near to the network."""
    number: Mapped[int] = mapped_column(server_default="0")
    """Tries begun so far; every write of one names the one it was given, so it never falls."""
    attempts: Mapped[int] = mapped_column(server_default="0")
    """Tries begun since it was last asked for, without those that were given back."""
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(f"state IN {EXPORT_STATES!r}", name="state"),
        UniqueConstraint("job_id", "request_fingerprint"),
        Index(
            "ix_exports_waiting",
            *("created_at", "id"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )
