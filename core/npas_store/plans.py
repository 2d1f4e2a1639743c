"""The allocations of a job: version 0 is what it was accepted with, later ones what it learned."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from npas_store.tables import PlanVersion


def record(session: Session, job_id: str, version: int, document: str) -> None:
    """Write one version of the plan; a resumed job may write it again, but never version 0.

    A worker must hold its lease in the same transaction (`claims.guard`).

    Args:
        document: JSON, kept byte for byte.
    """
    statement = insert(PlanVersion).values(job_id=job_id, version=version, document=document)
    session.execute(
        statement.on_conflict_do_update(
            constraint="pk_plans", set_={"document": document}, where=PlanVersion.version > 0
        )
    )


def versions(session: Session, job_id: str) -> Sequence[PlanVersion]:
    """Return all versions, the oldest first; the last one is in force."""
    query = select(PlanVersion).where(PlanVersion.job_id == job_id)
    return session.scalars(query.order_by(PlanVersion.version)).all()
