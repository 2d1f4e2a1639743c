"""/v1/jobs/{id}/metrics: the learning curve, thinned out for a picture."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from npas_store import metrics
from npas_store.database import autocommitting
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from npas_api import content_negotiation, dependencies, errors, schemas
from npas_api.curves import Row, thinned
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(content_negotiation.json_only)]
)

PLACE = ("stage", "epoch", "epochs", "step")
"""Where in the training a row stands; in every row, never a metric."""


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
    response_model=schemas.Metrics,
    responses=problems_of(
        errors.NotAcceptableError, errors.JobNotFoundError, errors.InvalidRequestError
    ),
)
def job_metrics(job_id: dependencies.JobId, query: Annotated[MetricQuery, Query()]) -> Response:
    """Read the learning curve: a row for each epoch, search before training.

    If there are more rows than `max_points`, those that hold the highest and the lowest values of
    each stretch are kept, and the first and the last: peaks survive.
    """
    with autocommitting() as session:
        curve = metrics.curve(session, job_id)
    if curve is None:
        raise dependencies.no_job(job_id)
    rows: list[Row] = from_json(curve)
    known = dict.fromkeys(name for row in rows for name in row if name not in PLACE)
    wanted = list(known) if query.names is None else list(dict.fromkeys(query.names.split(",")))
    if len(rows) > query.max_points or not _are_alike(rows, wanted):
        kept = [rows[index] for index in thinned(rows, wanted, query.max_points)]
        fields = (*PLACE, *wanted)
        curve = to_json([{name: row.get(name) for name in fields} for row in kept]).decode()
    head = to_json({"names": wanted, "total": len(rows)}).decode()
    # As the store has it, where nothing is left out: ten thousand rows are not made twice.
    return Response(f'{head[:-1]},"data":{curve}}}', media_type=content_negotiation.JSON)


def _are_alike(rows: Sequence[Row], names: Sequence[str]) -> bool:
    """Tell whether every row has its place and all of these metrics, and nothing else."""
    fields = {*PLACE, *names}
    return all(row.keys() == fields for row in rows)
