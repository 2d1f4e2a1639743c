"""ETag and If-Match of a job: a change is made only to the version that its maker has seen.

The tag names `Job.revision`, the version of what users can change, and nothing else: a job that
trains has a new progress every second, and a change of its labels must not fail for that. So it
is no tag for caches, and answers of jobs are not to be kept by any.
"""

import re
from typing import Any

from fastapi import Request, Response
from npas_store.tables import Job
from sqlalchemy import Row

from npas_api import errors
from npas_api.errors import FieldError

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*{_TAG}\s*(?:,\s*{_TAG}\s*)*")


def tag(job: Job | Row[Any]) -> str:
    """Return the ETag of a job."""
    return f'"{job.revision}"'


def tell_version(response: Response, job: Job | Row[Any]) -> None:
    """Say with an answer which version of the job it has."""
    response.headers["ETag"] = tag(job)
    response.headers["Cache-Control"] = "no-store"


def require(request: Request, job: Job | Row[Any]) -> None:
    """Check that a request is meant for the job as it is, where it says so.

    Args:
        request: may have If-Match: tags, or * for any version.
        job: locked until it is changed.

    Raises:
        InvalidPreconditionError: the header is no list of tags.
        PreconditionFailedError: it names other versions; weak tags name none.
    """
    given = ",".join(request.headers.getlist("if-match"))
    if "if-match" not in request.headers or given.strip() == "*":
        return
    if not _TAGS.fullmatch(given):
        told = f'If-Match is {given[:80]!r}; it must be "*" or quoted tags, such as "3"'
        raise errors.InvalidPreconditionError(told, errors=[_blame("invalid_if_match", told)])
    if tag(job) not in re.findall(_TAG, given):
        told = (
            f"{job.id} is at version {tag(job)}, If-Match asks for {given[:80]}: look at the "
            "job again, then repeat the change with its ETag"
        )
        raise errors.PreconditionFailedError(
            told, errors=[_blame("precondition_failed", told)], headers={"ETag": tag(job)}
        )


def _blame(code: str, message: str) -> FieldError:
    return FieldError(pointer="/if-match", code=code, message=message, place="header")
