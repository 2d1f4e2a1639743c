"""Jobs that ended are deleted with all that is theirs: rows, keys, folders, and blobs."""

import logging
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from npas_store import garbage, homes
from npas_store.database import UNREACHABLE, reading, transaction
from npas_store.jobs import NoSuchJobError
from npas_store.removal import Freed, remove_folder
from npas_store.settings import settings
from npas_store.states import TERMINAL, is_terminal
from npas_store.tables import Artifact, IdempotencyKey, Job

log = logging.getLogger(__name__)


class NotEndedError(Exception):
    """A job that has not ended cannot be deleted; `state` is its state."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return f"the job is {self.state}"


def delete_job(job_id: str) -> Freed:
    """Delete a job that has ended, and return what that freed.

    Its rows go first. Files that cannot be deleted now are collected later.

    Raises:
        NoSuchJobError: there is none.
        NotEndedError: it has not ended.
    """
    with transaction() as session:
        # Children first: who changes one needs its parent for a moment, to hold on to its id.
        children = select(Job.id).where(Job.parent_id == job_id).order_by(Job.id)
        session.execute(children.with_for_update()).all()
        state = session.scalar(select(Job.state).where(Job.id == job_id).with_for_update())
        if state is None:
            raise NoSuchJobError(f"there is no job {job_id!r}")
        if not is_terminal(state):
            raise NotEndedError(state)
        blobs = remove_jobs(session, [job_id])
    return clear([job_id], blobs)


def remove_jobs(session: Session, job_ids: Sequence[str]) -> list[str]:
    """Delete the rows of jobs that have ended, and return the blobs that they named.

    Once that is committed, `clear` deletes the files.
    """
    of_them = Artifact.job_id.in_(job_ids)
    named = set(session.scalars(select(Artifact.sha256).where(of_them)))
    ended = (Job.id.in_(job_ids), Job.state.in_(TERMINAL))
    started = select(Job.start_sha256).where(*ended)
    named.update(filter(None, session.scalars(started)))
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource.in_(job_ids)))
    session.execute(delete(Job).where(*ended))
    return sorted(named)


def clear(job_ids: Sequence[str], blobs: Sequence[str]) -> Freed:
    """Delete the folders of jobs that have no rows any more, and blobs that nobody names now."""
    freed = Freed()
    try:
        with reading() as session:
            homes.check(session)
        freed = garbage.collect(blobs)
        for job_id in job_ids:
            freed += remove_folder(settings().jobs / job_id)
    except (OSError, homes.HomeError, *UNREACHABLE) as error:
        log.warning("files of deleted jobs are left for later: %s", error)
    return freed
