"""/v1/jobs/{id}/metrics: the learning curve, thinned out for a picture."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from npas_store import metrics
from npas_store.database import reading
from pydantic import BaseModel, ConfigDict, Field

from npas_api import content_negotiation, dependencies, errors, schemas
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(content_negotiation.json_only)]
)

PLACE = ("stage", "epoch", "epochs", "step")
"""Where in the training a row stands; in every row, never a metric."""

Row = dict[str, Any]


class MetricQuery(BaseModel):
    """Which metrics, and how many rows."""

    model_config = ConfigDict(extra="forbid")

    names: str | None = Field(
        None,
        pattern=r"^[a-z0-9_]+(,[a-z0-9_]+)*$",
        max_length=500,
        description="train_loss,validation_accuracy,...; all when left out",
    )
    max_points: int = Field(1000, ge=2, le=10_000, description="rows at most")


@router.get(
    "/{job_id}/metrics",
    responses=problems_of(
        errors.NotAcceptableError, errors.JobNotFoundError, errors.InvalidRequestError
    ),
)
def job_metrics(
    job_id: dependencies.JobId, query: Annotated[MetricQuery, Query()]
) -> schemas.Metrics:
    """Read the learning curve: a row for each epoch, search before training.

    If there are more rows than `max_points`, those that hold the highest and the lowest values of
    each stretch are kept, and the first and the last: peaks survive.
    """
    with reading() as session:
        dependencies.job(session, job_id)
        rows = metrics.rows(session, job_id)
    known = dict.fromkeys(name for row in rows for name in row if name not in PLACE)
    wanted = list(known) if query.names is None else list(dict.fromkeys(query.names.split(",")))
    kept = [rows[index] for index in thinned(rows, wanted, query.max_points)]
    data = [{name: row.get(name) for name in (*PLACE, *wanted)} for row in kept]
    return schemas.Metrics(names=wanted, total=len(rows), data=data)


def thinned(rows: Sequence[Row], names: Sequence[str], max_points: int) -> list[int]:
    """Return the indices of the rows to keep, ascending.

    Args:
        rows: the curve; values that are missing or None are passed over.
        names: the metrics whose peaks must survive.
        max_points: most indices; at least 2.
    """
    if len(rows) <= max_points:
        return list(range(len(rows)))
    last = len(rows) - 1
    stretches = (max_points - 2) // (2 * max(1, len(names)))
    if stretches == 0 or not names:
        return sorted({round(last * i / (max_points - 1)) for i in range(max_points)})
    kept = {0, last}
    for i in range(stretches):
        stretch = range(last * i // stretches, last * (i + 1) // stretches)
        for name in names:
            kept.update(_peaks(rows, name, stretch))
    return sorted(kept)


def _peaks(rows: Sequence[Row], name: str, stretch: Iterable[int]) -> set[int]:
    numbers = [i for i in stretch if isinstance(rows[i].get(name), int | float)]
    if not numbers:
        return set()
    return {
        min(numbers, key=lambda i: float(rows[i][name])),
        max(numbers, key=lambda i: float(rows[i][name])),
    }
