"""Compares rows with files, both ways: `python -m npas_store.fsck [--repair]`, `npas fsck`.

Every byte is read. --repair deletes what nobody needs and marks what is missing: resume files are
forgotten, an artifact's loss is an event of its job, an export fails, a dataset or weights become
invalid. What is marked is no longer told of. It may run beside the service. Exit code: 0 nothing
is wrong, or all of it is repaired; 1 something is; 2 it could not be looked at.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import delete, select

from npas_store import (
    blobs,
    datasets,
    events,
    exports,
    garbage,
    homes,
    migrate,
    resume_files,
    uploads,
)
from npas_store.database import UNREACHABLE, reading, transaction, why_unreachable
from npas_store.removal import is_young, remove_file, remove_folder
from npas_store.settings import SettingError, settings
from npas_store.states import TERMINAL
from npas_store.tables import Artifact, Dataset, Event, Job, ResumeFile
from npas_store.transitions import reason

LOST = "artifact_lost"
"""Type of the event that marks an artifact whose bytes are gone."""

Repair = Callable[[], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: missing, damaged, unneeded.
        file: below the home.
        told: whose it is, or what it is.
        repair: makes it right, or marks it; None: there is nothing to do but to know it.
    """

    kind: str
    file: Path
    told: str
    repair: Repair | None = None


def findings(*, seconds: float = garbage.GRACE_SECONDS) -> Iterator[Finding]:
    """Yield all that is wrong.

    Args:
        seconds: what nobody names is told of once it has lain there for so long.
    """
    yield from _artifacts()
    yield from _datasets()
    yield from _starts()
    yield from _resume_files()
    yield from _unneeded_blobs(seconds)
    yield from _unneeded_folders(seconds)
    for path in uploads.unneeded():
        told, repair = "file of an upload that needs none", partial(uploads.delete, path)
        yield Finding(kind="unneeded", file=path, told=told, repair=repair)
    for path in exports.unneeded_folders():
        told, remove = "folder of an export that is not made", partial(remove_folder, path)
        yield Finding(kind="unneeded", file=path, told=told, repair=remove)


def _artifacts() -> Iterator[Finding]:
    with reading() as session:
        rows = session.scalars(select(Artifact).order_by(Artifact.job_id, Artifact.name)).all()
    for row in rows:
        found = blobs.state(blobs.Blob(sha256=row.sha256, bytes=row.bytes))
        if found != "stored" and not _is_known(row):
            yield Finding(
                kind=found,
                file=blobs.path(row.sha256),
                told=f"{row.name} of {row.job_id}",
                repair=partial(
                    _lose_export if row.kind == "export" else _mark_artifact, row, found
                ),
            )


def _is_known(row: Artifact) -> bool:
    with reading() as session:
        of_job = (Event.job_id == row.job_id, Event.type == LOST)
        told = session.scalars(select(Event.data).where(*of_job))
        return any(data.get("sha256") == row.sha256 for data in told)


def _mark_artifact(row: Artifact, found: str) -> None:
    message = f"{row.name} is {found} on the server's disk; the same request makes it again"
    data = {"name": row.name, "sha256": row.sha256, "state": found}
    with transaction() as session:
        events.append(session, row.job_id, LOST, message, data, level="error")


def _lose_export(row: Artifact, found: str) -> None:
    with transaction() as session:
        exports.forget_file(session, row.job_id, row.name, found)


def _datasets() -> Iterator[Finding]:
    with reading() as session:
        rows = session.scalars(select(Dataset).where(Dataset.state == "ready")).all()
    for row in rows:
        content = _content(row)
        for sha256, told in ((row.content_sha256, content), (row.thumbnails_sha256, "pictures")):
            found = "stored" if sha256 is None else _state(blobs.path(sha256), sha256)
            if sha256 is not None and found != "stored":
                repair = None if told == "pictures" else partial(_make_invalid, row.id, found)
                path = blobs.path(sha256)
                yield Finding(kind=found, file=path, told=f"{told} of {row.id}", repair=repair)


def _content(row: Dataset) -> str:
    return "weights" if row.format == datasets.WEIGHTS else "arrays"


def _make_invalid(dataset_id: str, found: str) -> None:
    with transaction() as session:
        row = session.get(Dataset, dataset_id, with_for_update=True)
        if row is not None:
            message = f"its {_content(row)} are {found} on the server's disk"
            row.state = "invalid"
            row.reason = reason("invalid_data", message, hint="send it again: POST /v1/datasets")


def _starts() -> Iterator[Finding]:
    with reading() as session:
        waiting = (Job.start_sha256.is_not(None), Job.state.not_in(TERMINAL))
        rows = session.execute(select(Job.id, Job.start_sha256).where(*waiting)).all()
    for job_id, sha256 in rows:
        path = blobs.path(str(sha256))
        if (found := _state(path, str(sha256))) != "stored":
            yield Finding(kind=found, file=path, told=f"what {job_id} starts from")


def _resume_files() -> Iterator[Finding]:
    with reading() as session:
        rows = session.scalars(select(ResumeFile).order_by(ResumeFile.id)).all()
    for row in rows:
        path = settings().jobs / row.path
        found = _state(path, row.sha256)
        if found != "stored" and _is_there(row.id):  # else a newer one took its place just now
            told = f"resume file of {row.job_id}, step {row.step}"
            yield Finding(kind=found, file=path, told=told, repair=partial(_forget, row.id, path))


def _forget(row_id: int, path: Path) -> None:
    with transaction() as session:
        session.execute(delete(ResumeFile).where(ResumeFile.id == row_id))
    remove_file(path)


def _is_there(row_id: int) -> bool:
    with reading() as session:
        return session.get(ResumeFile, row_id) is not None


def _unneeded_blobs(seconds: float) -> Iterator[Finding]:
    for file in garbage.old_files(seconds=seconds):
        if blobs.is_draft(file.name):
            told, repair = "draft of a blob", partial(remove_file, file)
        elif blobs.is_name(file.name) and not _is_named(file.name):
            told, repair = "blob that no row names", partial(garbage.collect, [file.name])
        else:
            continue
        yield Finding(kind="unneeded", file=file, told=told, repair=repair)


def _is_named(sha256: str) -> bool:
    with reading() as session:
        return bool(garbage.referenced(session, [sha256]))


def _unneeded_folders(seconds: float) -> Iterator[Finding]:
    repair: Repair
    for folder in sorted(settings().jobs.glob("job_*")):
        with reading() as session:
            if resume_files.orphans(session, [folder]):
                if is_young(folder, seconds):
                    continue
                told, repair = "folder of a job that is gone", partial(remove_folder, folder)
            elif resume_files.untidy(session, [folder]):
                told, repair = "files of a job that ended", partial(_retire, folder.name)
            else:
                continue
        yield Finding(kind="unneeded", file=folder, told=told, repair=repair)


def _retire(job_id: str) -> None:
    with transaction() as session:
        resume_files.retire(session, job_id)


def _state(path: Path, sha256: str) -> str:
    try:
        return "stored" if blobs.measure(path).sha256 == sha256 else "damaged"
    except FileNotFoundError:
        return "missing"
    except OSError:  # there, and cannot be read
        return "damaged"


def tell_all(*, is_repair: bool) -> int:
    """Print what is wrong, repair it if that is asked for, and return the exit code."""
    left = found = 0
    for finding in findings():
        found += 1
        done = "repaired" if is_repair and _is_repaired(finding) else ""
        left += not done
        place = finding.file.relative_to(settings().home)
        sys.stdout.write(f"{finding.kind:9} {done:9} {place}  ({finding.told})\n")
    told = f"{found} things were wrong, {left} are" if found else "nothing is wrong"
    sys.stdout.write(f"npas: {told}\n")
    return 1 if left else 0


def _is_repaired(finding: Finding) -> bool:
    if finding.repair is None:
        return False
    try:
        finding.repair()
    except OSError as error:
        sys.stderr.write(f"npas: {finding.file} cannot be repaired: {error}\n")
        return False
    return True


def main() -> int:
    """Look at all rows and files of the service; return the exit code."""
    if unknown := {*sys.argv[1:]} - {"--repair"}:
        sys.stderr.write(f"npas: unknown: {' '.join(sorted(unknown))}; usage: fsck [--repair]\n")
        return 2
    try:
        migrate.require()
        with reading() as session:
            homes.check(session)
        return tell_all(is_repair="--repair" in sys.argv[1:])
    except (SettingError, migrate.SchemaError) as error:
        sys.stderr.write(f"npas: {error}\n")
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
    except OSError as error:
        sys.stderr.write(f"npas: {settings().home} cannot be read: {error}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
