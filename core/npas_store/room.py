"""Room on the disk: how much a job needs on the disk of the worker that takes it; what is free.

A job is claimed only where there is room for what it needs, so that one that met a full disk waits
until space returns instead of filling the last of it again.
"""

import shutil
from pathlib import Path

from sqlalchemy import BigInteger, ColumnElement, case, func, select
from sqlalchemy.orm import Session

from npas_store.settings import settings
from npas_store.tables import Job, ResumeFile

LEAST_FREE_BYTES = 64 * 2**20
"""What stays free beside any job: logs, events, what the system itself writes."""

_FILE, _STATE = 4, 12  # bytes a parameter: of a model file; with momentum and best weights
_OF_A_DELIVERY = 2 * _FILE  # the file, and its copy in the store
_OF_A_TRAINING = 3 * _STATE + _OF_A_DELIVERY  # two resume files, and the third while it is written


def free_bytes() -> int:
    """Return what is free for the files of jobs, on the fuller of the disks that they lie on.

    Raises:
        OSError: the home is gone.
    """
    return min(_free(folder) for folder in (settings().jobs, settings().blobs))


def _free(folder: Path) -> int:
    while not folder.exists() and folder != settings().home:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def needed() -> ColumnElement[int]:
    """Return, for a query of jobs, the bytes that must be free where a job is taken.

    What was estimated when it was accepted, or else a lower bound by its parameters, less what it
    holds already; of a job that is only to be delivered, its files.
    """
    held = (
        select(func.coalesce(func.sum(ResumeFile.bytes), 0))
        .where(ResumeFile.job_id == Job.id)
        .correlate(Job)
        .scalar_subquery()
    )
    least = _OF_A_DELIVERY * Job.parameters
    estimated = Job.estimate["disk_bytes"].astext.cast(BigInteger)
    whole = func.coalesce(estimated, _OF_A_TRAINING * Job.parameters)
    wanted = func.greatest(whole - held, least)
    return LEAST_FREE_BYTES + case((Job.cancel_requested, least), else_=wanted)


def needed_bytes(session: Session, job_id: str) -> int:
    """Return the bytes that must be free where a job is taken."""
    return int(session.scalars(select(needed()).where(Job.id == job_id)).one())
