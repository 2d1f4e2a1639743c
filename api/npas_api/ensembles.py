"""/v1/jobs/{id}/ensemble: what the networks of a job are worth together."""

from typing import Any

from fastapi import APIRouter, Depends
from npas.delivery.ensemble_report import EnsembleReport
from npas_store.database import reading
from npas_store.tables import Job

from npas_api import content_negotiation, dependencies, errors
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(content_negotiation.json_only)]
)


@router.get(
    "/{job_id}/ensemble",
    response_model=EnsembleReport,
    responses=problems_of(
        errors.NotAcceptableError, errors.JobNotFoundError, errors.EnsembleNotFoundError
    ),
)
def get_ensemble(job_id: dependencies.JobId) -> Any:
    """Read the scores and costs of every subset of a job's networks, and its early answers."""
    with reading() as session:
        job = dependencies.job(session, job_id)
        found = (job.result or {}).get("ensemble")
        if found is None:
            raise errors.EnsembleNotFoundError(_why_not(job))
    return found


def _why_not(job: Job) -> str:
    if job.result is None:
        return f"{job.id} is {job.state} and has delivered no networks; look again when it ended"
    if len(job.result["networks"]) == 1:
        return f"{job.id} is of one network; ask for several, as `networks`"
    if job.result["metric"] == "f1":
        return f"the networks of {job.id} answer for cells; ensembles are graded on classes only"
    return f"{job.id} ended before ensembles were graded; clone it to have that done"
