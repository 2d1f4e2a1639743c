"""/v1/jobs/{id}/exports: a delivered network as a file for other programs.

It is made beside the API, in a process with limits, and becomes an artifact of the job.
"""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from npas.spec.export import ExportSpec
from npas_store import exports, jobs, lineage, plans
from npas_store.blobs import Blob
from npas_store.database import reading, transaction
from npas_store.export_tables import Export as Row
from pydantic import BaseModel, Field

from npas_api import content_negotiation, dependencies, errors, starts
from npas_api.openapi import problems_of, request_body
from npas_api.planning import Planner, while_awaited
from npas_api.request_body import body

router = APIRouter(
    prefix="/v1/jobs", tags=["artifacts"], dependencies=[Depends(content_negotiation.json_only)]
)

_EXAMPLE = {"to": "onnx", "guard": False}


class Export(BaseModel):
    """A file that is made, or was made, of a job's network."""

    id: str
    state: str = Field(description="queued, running, succeeded or failed")
    spec: ExportSpec
    artifact: str | None = Field(description="name of the job's artifact, once it succeeded")
    facts: dict[str, Any] | None = Field(
        description="keeps_sharing from the start: whether what was shared will be in the file "
        "once, or it will be as large as the dense network; once it succeeded also file_bytes, "
        "unique_bytes of the network in float32, and max_difference of outputs"
    )
    reason: dict[str, Any] | None = Field(description="why it failed, or waits again")
    created_at: datetime
    finished_at: datetime | None
    url: str

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the shape of a row."""
        fields = {name: getattr(row, name, None) for name in cls.model_fields}
        return cls.model_validate({**fields, "url": f"/v1/jobs/{row.job_id}/exports/{row.id}"})


class ExportList(BaseModel):
    """The exports of a job."""

    data: list[Export]


@router.post(
    "/{job_id}/exports",
    status_code=202,
    responses={
        200: {"description": "It was asked for before: that one.", "model": Export},
        **problems_of(
            *(errors.InvalidJsonError, errors.NotAcceptableError, errors.BodyTooLargeError),
            *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError),
            *(errors.InvalidSpecError, errors.UnknownNameError, errors.PackageMissingError),
            *(errors.JobNotFoundError, errors.JobStateConflictError, errors.ArtifactGoneError),
            *(errors.ArtifactDamagedError, errors.PlanTooLargeError, errors.BusyError),
            errors.PlannerUnavailableError,
        ),
    },
    openapi_extra=request_body(ExportSpec, example=_EXAMPLE),
)
async def make_export(
    job_id: dependencies.JobId,
    request: Request,
    response: Response,
    spec: Annotated[ExportSpec, Depends(body(ExportSpec))],
) -> Export:
    """Have a delivered network written for other programs; the same again is made once.

    What can be known at once is refused at once. One that failed, or whose file was lost on the
    server's disk, is made anew.
    """
    plan = await run_in_threadpool(_delivered_plan, job_id)
    planner: Planner = request.app.state.planner
    checked, keeps = await while_awaited(request, planner.check_export(spec, plan))
    export, is_new = await run_in_threadpool(_requested, job_id, checked, keeps)
    response.status_code = 202 if is_new else 200
    response.headers["Location"] = export.url
    return export


def _delivered_plan(job_id: str) -> str:
    """Return the plan of the network that a job delivered and that is stored, as JSON."""
    with reading() as session:
        job = dependencies.job(session, job_id)
        network = lineage.delivered_network(session, job_id)
        if network is None:
            raise errors.JobStateConflictError(
                f"{job_id} is {job.state} and has delivered no network; exports are made of one"
            )
        starts.check_stored(Blob(sha256=network.sha256, bytes=network.bytes), job_id)
        return str(plans.versions(session, job_id)[-1].document)


def _requested(job_id: str, spec: ExportSpec, keeps_sharing: bool) -> tuple[Export, bool]:
    """Return the export, and whether it is to be made."""
    with transaction() as session:
        try:
            row, is_new = exports.request_export(
                session, job_id, spec, {"keeps_sharing": keeps_sharing}
            )
        except jobs.NoSuchJobError:  # it was deleted just now
            raise dependencies.no_job(job_id) from None
        session.refresh(row)
        return Export.of(row), is_new


@router.get(
    "/{job_id}/exports",
    responses=problems_of(errors.NotAcceptableError, errors.JobNotFoundError),
)
def list_exports(job_id: dependencies.JobId) -> ExportList:
    """List the exports that were asked for of a job."""
    with reading() as session:
        dependencies.job(session, job_id)
        return ExportList(data=[Export.of(row) for row in exports.exports_of(session, job_id)])


@router.get(
    "/{job_id}/exports/{export_id}",
    responses=problems_of(
        errors.NotAcceptableError, errors.JobNotFoundError, errors.ExportNotFoundError
    ),
)
def read_export(job_id: dependencies.JobId, export_id: str) -> Export:
    """Look at an export; once it has succeeded, download its artifact."""
    with reading() as session:
        dependencies.job(session, job_id)
        row = exports.export_of(session, job_id, export_id) if "\0" not in export_id else None
        if row is None:
            raise errors.ExportNotFoundError(f"{job_id} has no export {export_id[:100]!r}")
        return Export.of(row)
