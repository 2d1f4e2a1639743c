"""What nobody wants any more goes by itself: by age and by number, as the settings have it."""

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from npas_store import deletion, exports, garbage, homes, logs, removal, resume_files, snapshot
from npas_store.database import reading, transaction
from npas_store.jobs import NoSuchJobError
from npas_store.removal import Freed, remove_folder
from npas_store.settings import settings
from npas_store.states import TERMINAL
from npas_store.tables import Event, IdempotencyKey, Job, OutboxMessage, ResumeFile, Sweep

_LOCK = 0x6E7061736B  # "npask": one at a time is enough
_BATCH = 100
_ROUND_SECONDS = 10.0
_UNHEARD = timedelta(hours=1)
_DAY_SECONDS = 86400.0

log = logging.getLogger(__name__)


def tidy_once(seconds: float = _ROUND_SECONDS) -> Freed:
    """Delete what is due, and return what that freed; safe to call from anywhere, at any time.

    A disk that fails costs a warning: what could not be deleted is due again the next time.

    Args:
        seconds: after which it stops and leaves the rest for the next time.
    """
    freed, until = Freed(), time.monotonic() + seconds
    with reading() as guard:
        if not guard.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
            return freed
        try:
            homes.check(guard)
        except homes.HomeError as error:
            log.warning("nothing is deleted: %s", error)
            return freed
        for step in _STEPS:
            try:
                freed += step(until)
            except (OSError, homes.HomeError) as error:
                log.warning("what is due cannot be deleted now: %s", error)
    if freed.files:
        log.info("%d files are gone, %d bytes are free", freed.files, freed.bytes)
    return freed


def _old_jobs(until: float) -> Freed:
    """Delete the jobs that ended too long ago, and those that are too many."""
    freed = Freed()
    while time.monotonic() < until:
        with reading() as session:
            due = _due_jobs(session)
        if not due:
            break
        for job_id in due:
            try:
                freed += deletion.delete_job(job_id)
            except NoSuchJobError:  # somebody was quicker
                continue
            if time.monotonic() > until:
                return freed
    return freed


def _due_jobs(session: Session) -> Sequence[str]:
    """Return some of the jobs that are to go; never those of a sweep that goes on."""
    days, number = settings().keep_jobs_days, settings().keep_jobs
    due: list[ColumnElement[bool]] = []
    if days is not None:
        due.append(Job.finished_at < _ago(days))
    if number is not None:
        last = Job.finished_at.desc(), Job.id.desc()
        rest = select(Job.id).where(_has_ended()).order_by(*last).offset(number)
        due.append(Job.id.in_(rest))
    if not due:
        return ()
    other = aliased(Job)
    goes_on = exists().where(other.sweep_id == Job.sweep_id, other.state.not_in(TERMINAL))
    query = select(Job.id).where(_has_ended(), or_(*due), ~goes_on)
    return session.scalars(query.order_by(Job.finished_at, Job.id).limit(_BATCH)).all()


def _empty_sweeps(_until: float) -> Freed:
    """Delete the sweeps whose jobs are all gone, where jobs go by themselves."""
    if settings().keep_jobs is not None or settings().keep_jobs_days is not None:
        with transaction() as session:
            empty = delete(Sweep).where(~exists().where(Job.sweep_id == Sweep.id))
            gone = session.scalars(empty.returning(Sweep.id)).all()
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.resource.in_(gone)))
    return Freed()


def _old_events(until: float) -> Freed:
    """Delete the events of jobs that ended too long ago; states and curves stay."""
    has_events = exists().where(Event.job_id == Job.id)
    old = (_has_ended(), Job.finished_at < _ago(settings().keep_events_days), has_events)
    while time.monotonic() < until:
        with transaction() as session:
            due = session.scalars(select(Job.id).where(*old).limit(_BATCH)).all()
            session.execute(delete(Event).where(Event.job_id.in_(due)))
        if not due:
            break
    return Freed()


def _old_keys(until: float) -> Freed:
    """Delete the idempotency keys that are too old."""
    old = IdempotencyKey.created_at < _ago(settings().keep_keys_days)
    while time.monotonic() < until:
        with transaction() as session:
            due = session.scalars(select(IdempotencyKey.key).where(old).limit(_BATCH)).all()
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.key.in_(due)))
        if not due:
            break
    return Freed()


def _old_messages(_until: float) -> Freed:
    """Delete old messages for jobs that no longer wait."""
    waiting = select(Job.id).where(Job.state == "queued")
    late = OutboxMessage.due_at < func.now() - _UNHEARD
    with transaction() as session:
        session.execute(delete(OutboxMessage).where(late, OutboxMessage.job_id.not_in(waiting)))
    return Freed()


def _old_resume_files(until: float) -> Freed:
    """Delete what jobs that ended too long ago could have gone on from."""
    old = (_has_ended(), Job.finished_at < _ago(settings().keep_resume_days))
    query = select(ResumeFile.job_id).join(Job).where(*old).distinct().limit(_BATCH)
    while time.monotonic() < until:
        with transaction() as session:
            due = session.scalars(query).all()
            for job_id in due:
                resume_files.expire(session, job_id)
        if not due:
            break
    return Freed()


def _folders(until: float) -> Freed:
    """Delete what crashes left: folders of jobs that are gone, files of jobs that ended."""
    freed, folders = Freed(), [*settings().jobs.glob("job_*")]
    random.shuffle(folders)  # who has little time comes to all in the end
    left = iter(folders)
    while time.monotonic() < until and (batch := [*islice(left, _BATCH)]):
        with reading() as session:
            orphans = resume_files.orphans(session, batch)
            untidy = resume_files.untidy(session, batch)
        for folder in orphans:
            freed += _remove_orphan(folder)
        with transaction() as session:
            for job_id in untidy:
                resume_files.retire(session, job_id)
    return freed


def _export_folders(_until: float) -> Freed:
    """Delete what tries of exports left that were killed."""
    freed = Freed()
    for folder in exports.unneeded_folders():
        freed += remove_folder(folder)
    return freed


def _remove_orphan(folder: Path) -> Freed:
    """Delete the folder of a job that is gone, not that of one whose row is on its way."""
    if removal.is_young(folder, garbage.GRACE_SECONDS):
        return Freed()
    with reading() as session:  # again: this process may have slept since
        is_orphan = bool(resume_files.orphans(session, [folder]))
    return remove_folder(folder) if is_orphan else Freed()


def _old_logs(until: float) -> Freed:
    """Delete the logs of jobs that ended too long ago, and the oldest when there are too many."""
    sizes: dict[str, int] = {}
    for folder in settings().jobs.glob("job_*"):
        parts = (part for found in logs.of_claims(folder.name).values() for part in found)
        if size := sum(part.stop - part.start for part in parts):
            sizes[folder.name] = size
    too_many = sum(sizes.values()) - settings().keep_logs_megabytes * 2**20
    freed = Freed()
    for job_id, is_old in _ended(sizes):
        if time.monotonic() > until or not (is_old or too_many > freed.bytes):
            break
        freed += logs.delete_logs(job_id)
    return freed


def _ended(job_ids: Iterable[str]) -> list[tuple[str, bool]]:
    """Return those of some jobs that ended, the first first, and whether their logs are old."""
    is_old = Job.finished_at < _ago(settings().keep_logs_days)
    found: list[tuple[Any, str, bool]] = []
    left = iter(job_ids)
    while batch := [*islice(left, _BATCH)]:
        query = select(Job.finished_at, Job.id, is_old).where(_has_ended(), Job.id.in_(batch))
        with reading() as session:
            found += [(at, job_id, old) for at, job_id, old in session.execute(query)]
    return [(job_id, old) for _, job_id, old in sorted(found)]


def _drafts(_until: float) -> Freed:
    """Delete what backups that were cut off left."""
    freed = Freed()
    for folder in settings().home.glob(f"{snapshot.STAGING}*/"):
        is_ours = re.fullmatch(re.escape(snapshot.STAGING) + "[0-9a-f]{8}", folder.name)
        if is_ours and time.time() - folder.stat().st_mtime > _DAY_SECONDS:
            freed += remove_folder(folder)
    return freed


def _blobs(until: float) -> Freed:
    """Delete blobs that nobody names, and drafts of blobs."""
    return garbage.collect_old(until=until, seconds=garbage.GRACE_SECONDS)


_STEPS: Sequence[Callable[[float], Freed]] = (
    *(_old_jobs, _empty_sweeps, _old_events, _old_keys, _old_messages),
    *(_old_resume_files, _folders, _export_folders, _old_logs, _blobs, _drafts),
)


def _has_ended() -> ColumnElement[bool]:
    return Job.state.in_(TERMINAL)


def _ago(days: float) -> ColumnElement[Any]:
    return func.now() - timedelta(days=days)
