"""The files from which a job goes on after its training was lost; the last two are kept."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.event import listen
from sqlalchemy.orm import Session

from npas_store import blobs
from npas_store.settings import settings
from npas_store.states import TERMINAL
from npas_store.tables import Job, ResumeFile

KEPT = 2
"""Files kept: the newest, and one in case that its bytes were damaged."""


def folder(job_id: str, claim_number: int) -> Path:
    """Return the working folder of one claim; no other claim writes into it."""
    return settings().jobs / job_id / f"e{claim_number}"


def keep(job_id: str, claim_number: int, path: Path, step: int) -> Path:
    """Give a file a second name that only this module removes, and return that name.

    Whoever wrote it may delete it at any time; a row must not point to a file that is gone.
    """
    kept = folder(job_id, claim_number) / "resume" / f"{step:012}"
    kept.parent.mkdir(exist_ok=True)
    kept.unlink(missing_ok=True)
    os.link(path, kept)
    blobs.sync_folder(kept.parent)
    return kept


def record(
    session: Session, job_id: str, claim_number: int, path: Path, blob: blobs.Blob, step: int
) -> None:
    """Register a file that is complete and on disk, in place of the oldest.

    The oldest is deleted after the commit, so that there is always one to go on from. A worker
    must hold its lease in the same transaction (`claims.guard`).

    Args:
        path: what `keep` returned.
        blob: its hash and size.
        step: optimiser steps done.
    """
    relative = str(path.relative_to(settings().jobs))
    same = (ResumeFile.job_id == job_id, ResumeFile.path == relative)
    session.execute(delete(ResumeFile).where(*same))
    session.add(
        ResumeFile(
            job_id=job_id,
            claim_number=claim_number,
            step=step,
            path=relative,
            bytes=blob.bytes,
            sha256=blob.sha256,
        )
    )
    session.flush()
    old = _newest_first(session, job_id)[KEPT:]
    session.execute(delete(ResumeFile).where(ResumeFile.id.in_([row.id for row in old])))
    files = [settings().jobs / row.path for row in old]

    def delete_files(_: Session) -> None:
        for file in files:
            file.unlink(missing_ok=True)

    listen(session, "after_commit", delete_files, once=True)


def discard(job_id: str) -> None:
    """Delete the working folders of a job that has ended; its logs stay."""
    for found in (settings().jobs / job_id).glob("e*/"):
        shutil.rmtree(found, ignore_errors=True)


def sweep(session: Session) -> None:
    """Delete the working folders of all jobs that nobody will go on with."""
    found = [folder.name for folder in settings().jobs.glob("job_*")]
    query = select(Job.id).where(Job.id.in_(found), Job.state.not_in(TERMINAL))
    kept = set(session.scalars(query))
    for job_id in found:
        if job_id not in kept:
            discard(job_id)


def are_there(session: Session, job_id: str) -> bool:
    """Tell whether files of a job are registered, from which something can be delivered."""
    query = select(ResumeFile.id).where(ResumeFile.job_id == job_id).limit(1)
    return session.scalars(query).one_or_none() is not None


def usable(session: Session, job_id: str) -> Iterator[tuple[Path, int]]:
    """Give the files whose bytes are what was registered, the newest first, with their steps."""
    for row in _newest_first(session, job_id):
        path = settings().jobs / row.path
        if path.is_file() and blobs.measure(path).sha256 == row.sha256:
            yield path, row.step


def _newest_first(session: Session, job_id: str) -> Sequence[ResumeFile]:
    query = select(ResumeFile).where(ResumeFile.job_id == job_id)
    return session.scalars(query.order_by(ResumeFile.id.desc())).all()
