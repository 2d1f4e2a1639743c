"""/v1/sweeps/{id}/results.csv: a row for each job, for spreadsheets and data frames."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from npas_store import sweep_views
from npas_store.database import reading
from npas_store.listings import Place
from npas_store.tables import Job
from starlette.responses import StreamingResponse

from npas_api import content_negotiation, errors
from npas_api.openapi import problems_of
from npas_api.sweeps import SweepId, sweep

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

CSV = "text/csv"
_BATCH = 100
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Spreadsheets compute what begins like this, and names and labels are from strangers."""


def _method_options(job: Job) -> str:
    given = {name: value for name, value in job.spec["method"].items() if name != "name"}
    return json.dumps(given, sort_keys=True)


def _retried(job: Job) -> str | None:
    return job.parent_id if job.relation == "retry" else None


def _budget_bytes(job: Job) -> int | None:
    """Return the bytes of a budget in bytes; None: it counts parameters."""
    found: int | None = job.spec["budget"].get("bytes")
    return found


COLUMNS: Mapping[str, Callable[[Job], Any]] = {
    "sweep_id": lambda job: job.sweep_id,
    "job_id": lambda job: job.id,
    "retry_of": _retried,
    "state": lambda job: job.state,
    "reason": lambda job: (job.reason or {}).get("code"),
    "architecture": lambda job: job.architecture,
    "dataset": lambda job: job.dataset,
    "method": lambda job: job.method,
    "method_options": _method_options,
    "seed": lambda job: job.spec["seed"],
    "is_baseline": lambda job: (job.sweep_point or {}).get("is_baseline"),
    "budget_fraction": lambda job: job.spec["budget"].get("fraction"),
    "budget_parameters": lambda job: job.budget_parameters,
    "minimum_parameters": lambda job: job.minimum_parameters,
    "parameters": lambda job: job.parameters,
    "dense_parameters": lambda job: job.dense_parameters,
    "accuracy": lambda job: job.accuracy,
    "attempts": lambda job: job.attempt,
    "created_at": lambda job: job.created_at,
    "started_at": lambda job: job.started_at,
    "finished_at": lambda job: job.finished_at,
    "labels": lambda job: json.dumps(job.labels, sort_keys=True),
    "budget_bytes": _budget_bytes,
}
"""By heading, in this order; later ones are only ever added at the end."""


@router.get(
    "/{sweep_id}/results.csv",
    response_class=StreamingResponse,
    responses={
        200: {"description": "RFC 4180, with a header.", "content": {CSV: {}}},
        **problems_of(errors.NotAcceptableError, errors.SweepNotFoundError),
    },
)
def download_table(request: Request, sweep_id: SweepId) -> StreamingResponse:
    """Download all jobs of a sweep as a table, those that have not ended and retried ones too.

    Text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    content_negotiation.preferred(request, CSV)
    with reading() as session:
        sweep(session, sweep_id)
        first = sweep_views.members(session, sweep_id, None, _BATCH)
    headers = {
        "Content-Disposition": f'attachment; filename="{sweep_id}.csv"',
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    kind = f"{CSV}; charset=utf-8; header=present"
    return StreamingResponse(_lines(sweep_id, first), headers=headers, media_type=kind)


def _lines(sweep_id: str, batch: Sequence[Job]) -> Iterator[str]:
    """Yield the table in parts; each part is a query of its own, however slowly they are read."""
    yield _written([list(COLUMNS)])
    while batch:
        yield _written([[_cell(column(job)) for column in COLUMNS.values()] for job in batch])
        last = Place(value=batch[-1].created_at, id=batch[-1].id)
        with reading() as session:
            batch = sweep_views.members(session, sweep_id, last, _BATCH)


def _written(rows: Sequence[Sequence[str]]) -> str:
    held = io.StringIO(newline="")
    csv.writer(held, lineterminator="\r\n").writerows(rows)
    return held.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return "'" + text if isinstance(value, str) and text.startswith(_FORMULA) else text
