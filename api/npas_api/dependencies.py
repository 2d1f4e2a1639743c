"""Looks up what an address names."""

import re
from typing import Annotated

from fastapi import Depends
from npas_store import jobs
from npas_store.tables import Job
from sqlalchemy.orm import Session

from npas_api import errors

_JOB_ID = re.compile(r"job_[0-9a-f]{32}")


async def checked_id(job_id: str) -> str:
    """Return a job's id; a dependency.

    Raises:
        JobNotFoundError: no job can have such an id.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise no_job(job_id)
    return job_id


JobId = Annotated[str, Depends(checked_id)]
"""The {job_id} of an address."""


def job(session: Session, job_id: str) -> Job:
    """Return a job's row.

    Raises:
        JobNotFoundError: there is none.
    """
    try:
        return jobs.get(session, job_id)
    except jobs.NoSuchJobError:
        raise no_job(job_id) from None


def no_job(job_id: str) -> errors.JobNotFoundError:
    """Return the refusal of an id that no job has."""
    return errors.JobNotFoundError(f"there is no job {job_id[:100]!r}")
