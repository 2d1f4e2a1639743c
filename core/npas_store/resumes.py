"""The files from which a job goes on after its training was lost; the last two are kept."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from npas_store import blobs
from npas_store.settings import settings
from npas_store.tables import ResumeFile

KEPT = 2
"""Files kept: the newest, and one in case that its bytes were damaged."""


def folder(job_id: str, epoch: int) -> Path:
    """Return the working folder of one claim; no other claim writes into it."""
    return settings().jobs / job_id / f"e{epoch}"


def record(session: Session, job_id: str, epoch: int, path: Path, step: int) -> Sequence[Path]:
    """Register a file that is complete and on disk; return the files that are no longer needed.

    Delete those after the transaction, not before. A worker must hold its lease in the same
    transaction (`claims.guard`).

    Args:
        path: below `folder(job_id, epoch)`.
        step: optimiser steps done.
    """
    blob = blobs.measure(path)
    relative = str(path.relative_to(settings().jobs))
    same = (ResumeFile.job_id == job_id, ResumeFile.path == relative)
    session.execute(delete(ResumeFile).where(*same))
    session.add(
        ResumeFile(
            job_id=job_id,
            epoch=epoch,
            step=step,
            path=relative,
            bytes=blob.bytes,
            sha256=blob.sha256,
        )
    )
    session.flush()
    old = _newest_first(session, job_id)[KEPT:]
    session.execute(delete(ResumeFile).where(ResumeFile.id.in_([row.id for row in old])))
    return [settings().jobs / row.path for row in old]


def usable(session: Session, job_id: str) -> Iterator[tuple[Path, int]]:
    """Give the files whose bytes are what was registered, the newest first, with their steps."""
    for row in _newest_first(session, job_id):
        path = settings().jobs / row.path
        if path.is_file() and blobs.measure(path).sha256 == row.sha256:
            yield path, row.step


def _newest_first(session: Session, job_id: str) -> Sequence[ResumeFile]:
    query = select(ResumeFile).where(ResumeFile.job_id == job_id)
    return session.scalars(query.order_by(ResumeFile.id.desc())).all()
