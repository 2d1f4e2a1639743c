"""The files from which a job goes on after its training was lost; the last two are kept.

Of a job that ended before it had done all that it was asked for, the last one is kept a while.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.event import listen
from sqlalchemy.orm import Session

from npas_store import blobs
from npas_store.removal import remove_folder
from npas_store.settings import settings
from npas_store.states import TERMINAL, is_terminal
from npas_store.tables import Attempt, Job, ResumeFile

log = logging.getLogger(__name__)

KEPT = 2
"""Files kept: the newest, and one in case that its bytes were damaged."""

_KEPT_IN = "resume"
"""In the folder of a claim: its registered files."""


def folder(job_id: str, claim_number: int) -> Path:
    """Return the working folder of one claim; no other claim writes into it."""
    return settings().jobs / job_id / f"e{claim_number}"


def keep(job_id: str, claim_number: int, path: Path, step: int) -> Path:
    """Give a file a second name that only this module removes, and return that name.

    Whoever wrote it may delete it at any time; a row must not point to a file that is gone.
    """
    kept = folder(job_id, claim_number) / _KEPT_IN / f"{step:012}"
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
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.claim_number == claim_number)
        .values(reached_step=step)
        .execution_options(synchronize_session=False)
    )
    _drop(session, _newest_first(session, job_id)[KEPT:])


def drop_newest(session: Session, job_id: str) -> None:
    """Forget the newest file where there is an older one, after a training diverged.

    All its numbers are finite, but it may have been written in the midst of the divergence, from
    where no lower rate leads back.
    """
    newest, *older = _newest_first(session, job_id) or (None,)
    if newest is not None and older:
        _drop(session, [newest])


def _drop(session: Session, rows: Sequence[ResumeFile]) -> None:
    """Delete rows now and their files after the commit, so that no row is without its file."""
    session.execute(delete(ResumeFile).where(ResumeFile.id.in_([row.id for row in rows])))
    files = [settings().jobs / row.path for row in rows]

    def delete_files(_: Session) -> None:
        for file in files:
            file.unlink(missing_ok=True)

    listen(session, "after_commit", delete_files, once=True)


def adopt(session: Session, parent_id: str, job_id: str) -> int | None:
    """Have a new job go on from the files of another, as far as they are still there.

    The files get second names in the folder of the new job, so that each job may delete its own.
    Whether their bytes are whole is looked at by the worker that goes on from them.

    Returns:
        The steps of the newest; None: there is none.
    """
    kept = folder(job_id, 0) / _KEPT_IN
    steps, links = [], []
    for row in reversed(_newest_first(session, parent_id)):
        link = kept / Path(row.path).name
        try:
            _link(settings().jobs / row.path, link)
        except OSError as error:  # deleted meanwhile, or the disk has no room for a name
            log.warning("%s starts without %s: %s", job_id, row.path, error)
            continue
        path = str(link.relative_to(settings().jobs))
        values = {"step": row.step, "path": path, "bytes": row.bytes, "sha256": row.sha256}
        session.add(ResumeFile(job_id=job_id, claim_number=0, **values))
        session.flush()
        steps.append(row.step)
        links.append((settings().jobs / row.path, link))

    def link_again(_: Session) -> None:
        # Folders of jobs without a row are deleted at any time, and until now it had none.
        for file, link in links:
            if not link.exists():
                with contextlib.suppress(OSError):  # then it starts anew
                    _link(file, link)

    listen(session, "after_commit", link_again, once=True)
    return max(steps, default=None)


def _link(file: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, link)
    blobs.sync_folder(link.parent)


def retire(session: Session, job_id: str) -> None:
    """Keep of a job that ended only what a retry would go on from; logs stay.

    That is its newest file, and nothing of a job that did all that it was asked for: what comes
    after that starts from what it delivered. Files are deleted after the commit. Of a job that
    goes on nothing is deleted, of one that has no row all.
    """
    job = session.get(Job, job_id)
    if job is not None and not is_terminal(job.state):
        return
    rows = [] if job is None or _is_done(job) else _newest_first(session, job_id)
    _forget(session, job_id, next((row for row in rows if _is_there(row)), None))


def expire(session: Session, job_id: str) -> None:
    """Delete what a retry of a job that ended would go on from, after the commit."""
    _forget(session, job_id, None)


def untidy(session: Session, folders: Iterable[Path]) -> list[str]:
    """Return the jobs that ended, and whose folders hold more than `retire` keeps.

    Args:
        folders: of jobs, to look into.
    """
    found = {job: {*_files(job)} for job in folders if any(job.glob("e[0-9]*/"))}
    query = select(Job).where(Job.id.in_([job.name for job in found]), Job.state.in_(TERMINAL))
    ended = {job.id: job for job in session.scalars(query)}
    rows = select(ResumeFile.job_id, ResumeFile.path).where(ResumeFile.job_id.in_(ended))
    kept: dict[str, set[Path]] = {}
    for job_id, path in session.execute(rows):
        kept.setdefault(job_id, set()).add(settings().jobs / path)
    return [
        job_id
        for job_id, job in ended.items()
        if _is_done(job)
        or len(kept.get(job_id, ())) != 1
        or found[settings().jobs / job_id] != kept[job_id]
    ]


def orphans(session: Session, folders: Iterable[Path]) -> list[Path]:
    """Return those of some folders whose jobs have no row; a job has one before a folder."""
    found = {folder.name: folder for folder in folders}
    known = set(session.scalars(select(Job.id).where(Job.id.in_(found))))
    return [folder for name, folder in found.items() if name not in known]


def _files(job: Path) -> Iterator[Path]:
    for folder in job.glob("e[0-9]*/"):
        yield from (path for path in folder.rglob("*") if not path.is_dir())


def _is_done(job: Job) -> bool:
    return job.state == "succeeded" and job.reason is None


def _forget(session: Session, job_id: str, kept: ResumeFile | None) -> None:
    others = delete(ResumeFile).where(ResumeFile.job_id == job_id)
    session.execute(others if kept is None else others.where(ResumeFile.id != kept.id))
    path = None if kept is None else settings().jobs / kept.path
    folders = [*(settings().jobs / job_id).glob("e[0-9]*/")]

    def delete_files(_: Session) -> None:
        try:
            for found in folders:
                remove_folder(found, but=path)
        except OSError as error:
            log.warning("working folders of %s are left for later: %s", job_id, error)

    listen(session, "after_commit", delete_files, once=True)


def _is_there(row: ResumeFile) -> bool:
    try:
        return (settings().jobs / row.path).stat().st_size == row.bytes
    except OSError:
        return False


def tidy(job_id: str, claim_number: int) -> None:
    """Delete what a claim that was lost left in its folder beside registered files."""
    for found in folder(job_id, claim_number).glob("*"):
        if found.is_dir() and found.name != _KEPT_IN:
            shutil.rmtree(found, ignore_errors=True)
        elif not found.is_dir():
            with contextlib.suppress(OSError):  # it goes with the job
                found.unlink()


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
