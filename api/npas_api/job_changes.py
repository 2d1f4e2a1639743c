"""PATCH /v1/jobs/{id}: what people call a job, and how soon it is taken."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from npas.spec import LABEL_KEY, MAX_LABEL_LENGTH, MAX_LABELS, Priority, Spec
from npas_store import jobs
from npas_store.database import transaction
from npas_store.tables import Job
from pydantic import Field, StringConstraints

from npas_api import content_negotiation, dependencies, errors, preconditions, schemas
from npas_api.errors import FieldError
from npas_api.jobs import looked_at
from npas_api.openapi import problems_of, request_body
from npas_api.request_body import MERGE_PATCH, body

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(content_negotiation.json_only)]
)

_EXAMPLE = {"labels": {"stage": "candidate", "team": None}, "priority": 10}
_Key = Annotated[str, StringConstraints(pattern=LABEL_KEY.pattern)]
_Value = Annotated[str, StringConstraints(max_length=MAX_LABEL_LENGTH)]


class JobPatch(Spec):
    """What is to be otherwise of a job, as a JSON merge patch (RFC 7396): null takes away."""

    labels: dict[_Key, _Value | None] | None = Field(
        None, description="labels to set; null takes one away, or all in place of the object"
    )
    priority: Priority | None = Field(None, description="null: 0")


@router.patch(
    "/{job_id}",
    responses=problems_of(
        *(errors.InvalidJsonError, errors.InvalidPreconditionError, errors.JobNotFoundError),
        *(errors.NotAcceptableError, errors.PreconditionFailedError, errors.BodyTooLargeError),
        *(errors.UnsupportedMediaTypeError, errors.InvalidRequestError),
    ),
    openapi_extra=request_body(JobPatch, example=_EXAMPLE, types=MERGE_PATCH),
)
def change_job(
    job_id: dependencies.JobId,
    request: Request,
    response: Response,
    patch: Annotated[JobPatch, Depends(body(JobPatch, MERGE_PATCH))],
    if_match: Annotated[
        str | None,
        Header(description="ETag of the job as you saw it; the change is refused if it is older"),
    ] = None,
) -> schemas.Job:
    """Change a job's labels or priority, also of one that has ended; its spec stays as asked."""
    del if_match  # `preconditions` reads all of them
    with transaction() as session:
        try:
            job = jobs.locked(session, job_id)
        except jobs.NoSuchJobError:
            raise dependencies.no_job(job_id) from None
        preconditions.require(request, job)
        labels, priority = _patched_labels(job, patch), job.priority
        if "priority" in patch.model_fields_set:
            priority = patch.priority or 0
        jobs.change(session, job, labels=labels, priority=priority)
        preconditions.tell_version(response, job)
        return looked_at(session, job)


def _patched_labels(job: Job, patch: JobPatch) -> dict[str, Any]:
    if "labels" not in patch.model_fields_set:
        return job.labels
    if patch.labels is None:
        return {}
    labels = {k: v for k, v in (job.labels | patch.labels).items() if v is not None}
    if len(labels) > MAX_LABELS:
        told = f"a job has at most {MAX_LABELS} labels, these would be {len(labels)}"
        raise errors.invalid([FieldError(pointer="/labels", code="too_many", message=told)])
    return labels
