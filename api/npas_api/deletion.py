"""DELETE /v1/jobs/{id}: a job that ended, its rows and its files."""

from fastapi import APIRouter, Depends
from npas_store import deletion
from npas_store.jobs import NoSuchJobError

from npas_api import content_negotiation, dependencies, errors, schemas
from npas_api.openapi import problems_of

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(content_negotiation.json_only)]
)


@router.delete(
    "/{job_id}",
    responses=problems_of(
        errors.NotAcceptableError, errors.JobNotFoundError, errors.JobNotEndedError
    ),
)
def delete_job(job_id: dependencies.JobId) -> schemas.Deletion:
    """Delete a job that has ended, with its events, curve, plans, log and files.

    Files that other jobs delivered, too, stay for those. Jobs that were made of this one stay.
    """
    try:
        freed = deletion.delete_job(job_id)
    except NoSuchJobError:
        raise dependencies.no_job(job_id) from None
    except deletion.NotEndedError as error:
        raise errors.JobNotEndedError(
            f"{job_id} is {error.state} and cannot be deleted yet; end it with "
            f"POST /v1/jobs/{job_id}/cancel, and delete it once it has ended"
        ) from None
    return schemas.Deletion(id=job_id, freed=schemas.Freed.model_validate(freed))
