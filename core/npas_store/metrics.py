"""The learning curve of a job: one row for each epoch of each stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from npas_store import events
from npas_store.json_values import finite
from npas_store.tables import Metric

EVENT = "metrics"
"""Type of the event that tells an epoch; its data are the row."""

_TIMING = "seconds"
"""The one field that differs where a resumed training does an epoch again to the same bits."""


def record(session: Session, job_id: str, row: Mapping[str, Any]) -> None:
    """Write one epoch; see `record_all`."""
    record_all(session, job_id, [row])


def record_all(session: Session, job_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write epochs, and an event for each; one that was reported before is replaced.

    A resumed training reports some epochs again. Where nothing but the time that it took is new,
    row and event stay as they are; else the row is replaced, and there is another event. So the
    last event of an epoch always is its row.

    A worker must hold its lease in the same transaction (`claims.guard`).

    Args:
        rows: at least one; each has at least `stage` ("teacher", "search" or "train") and `epoch`
            (from 1).
    """
    newest = {(row["stage"], row["epoch"]): finite(row) for row in rows}
    statement = insert(Metric).values(
        [
            {"job_id": job_id, "stage": stage, "epoch": epoch, "values": values}
            for (stage, epoch), values in newest.items()
        ]
    )
    told = statement.excluded["values"]
    written = session.execute(
        statement.on_conflict_do_update(
            constraint="pk_metrics",
            set_={"values": told, "at": func.clock_timestamp()},
            where=Metric.values.op("-")(_TIMING).is_distinct_from(told.op("-")(_TIMING)),
        ).returning(Metric.stage, Metric.epoch)
    )
    changed = {(stage, epoch) for stage, epoch in written}
    news = [
        events.News(type=EVENT, message=_sentence(values), data=values)
        for place, values in newest.items()
        if place in changed
    ]
    if news:
        events.append_all(session, job_id, news)


def _sentence(row: Mapping[str, Any]) -> str:
    of = f" of {row['epochs']}" if row.get("epochs") else ""
    accuracy = row.get("validation_accuracy")
    reached = "" if accuracy is None else f": validation accuracy {accuracy:.1%}"
    return f"{row['stage']}: epoch {row['epoch']}{of}{reached}"


_CURVE = text(
    "SELECT '[' || coalesce(string_agg(CAST(metrics.\"values\" AS text), ','"
    " ORDER BY stage != 'teacher', stage, epoch), '') || ']' FROM jobs"
    " LEFT JOIN metrics ON metrics.job_id = jobs.id WHERE jobs.id = :job_id GROUP BY jobs.id"
)


def curve(session: Session, job_id: str) -> str | None:
    """Return the rows, in the order of training, as a JSON array; None: there is no such job.

    It is one value, so ten thousand epochs are read at once.
    """
    found: str | None = session.scalar(_CURVE, {"job_id": job_id})
    return found


def rows(session: Session, job_id: str) -> list[dict[str, Any]]:
    """Return the curve as plain rows, in the order of training: teacher, search, train."""
    query = select(Metric.values).where(Metric.job_id == job_id)
    order = (Metric.stage != "teacher", Metric.stage, Metric.epoch)
    return [dict(found) for found in session.scalars(query.order_by(*order))]
