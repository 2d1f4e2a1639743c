"""The learning curve of a job: one row for each epoch of each stage."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from npas_store.json_values import finite
from npas_store.tables import Metric


def record(session: Session, job_id: str, row: Mapping[str, Any]) -> None:
    """Write one epoch; an epoch that was reported before is replaced.

    A worker must hold its lease in the same transaction (`claims.guard`).

    Args:
        row: has at least `stage` ("teacher", "search" or "train") and `epoch` (from 1).
    """
    values = finite(row)
    statement = insert(Metric).values(
        job_id=job_id, stage=row["stage"], epoch=row["epoch"], values=values
    )
    session.execute(
        statement.on_conflict_do_update(
            constraint="pk_metrics", set_={"values": values, "at": func.clock_timestamp()}
        )
    )


def rows(session: Session, job_id: str) -> list[dict[str, Any]]:
    """Return the curve as plain rows, in the order of training: teacher, search, train."""
    query = select(Metric.values).where(Metric.job_id == job_id)
    order = (Metric.stage != "teacher", Metric.stage, Metric.epoch)
    return [dict(found) for found in session.scalars(query.order_by(*order))]
