"""/v1/jobs/{id}/exports: a delivered network as a file for other programs.

It is made beside the API, in a process with limits, and becomes an artifact of the job.
"""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Response
from npas import registry
from npas.errors import UnknownNameError
from npas.spec.export import ExportSpec
from npas_store import exports, jobs, lineage
from npas_store.database import reading, transaction
from npas_store.export_tables import Export as Row
from pydantic import BaseModel, Field

from npas_api import content_negotiation, dependencies, errors
from npas_api.openapi import problems_of, request_body
from npas_api.request_body import body

router = APIRouter(
    prefix="/v1/jobs", tags=["artifacts"], dependencies=[Depends(content_negotiation.json_only)]
)

FORMATS = "npas.delivery.exports"
"""The package that holds one file for each format."""

_EXAMPLE = {"to": "onnx", "guard": False}


class Export(BaseModel):
    """A file that is made, or was made, of a job's network."""

    id: str
    state: str = Field(description="queued, running, succeeded or failed")
    spec: ExportSpec
    artifact: str | None = Field(description="name of the job's artifact, once it succeeded")
    facts: dict[str, Any] | None = Field(
        description="file_bytes; unique_bytes of the network in float32; max_difference of outputs"
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
            *(errors.UnknownNameError, errors.JobNotFoundError, errors.JobStateConflictError),
        ),
    },
    openapi_extra=request_body(ExportSpec, example=_EXAMPLE),
)
def make_export(
    job_id: dependencies.JobId,
    response: Response,
    spec: Annotated[ExportSpec, Depends(body(ExportSpec))],
) -> Export:
    """Have a delivered network written for other programs; the same again is made once."""
    _check(spec)
    with transaction() as session:
        job = dependencies.job(session, job_id)
        if lineage.delivered_network(session, job_id) is None:
            raise errors.JobStateConflictError(
                f"{job_id} is {job.state} and has delivered no network; exports are made of one"
            )
        try:
            row, is_new = exports.request_export(session, job_id, spec)
        except jobs.NoSuchJobError:  # it was deleted just now
            raise dependencies.no_job(job_id) from None
        response.status_code = 202 if is_new else 200
        response.headers["Location"] = f"/v1/jobs/{job_id}/exports/{row.id}"
        session.refresh(row)
        return Export.of(row)


def _check(spec: ExportSpec) -> None:
    name, known = registry.canonical(spec.to.replace(".", "_")), registry.names(FORMATS)
    if name not in known:
        found = UnknownNameError("format", spec.to, known, registry.nearest(name, known))
        blame = errors.FieldError(pointer="/to", code=found.code, message=found.message)
        raise errors.UnknownNameError(found.message, errors=[blame])


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
