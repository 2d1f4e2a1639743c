"""Checks what users sent, in a process that can do little: one dataset after the other.

Nothing of an upload is looked at here. The process that does gets a folder of its own, limits of
memory, time and file size, no environment and no rights beyond a user's; whatever becomes of it,
the dataset ends as ready or as refused with a reason, and its folder is deleted.
"""

import errno
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from npas_store import blobs, checks, datasets, garbage, machine, uploads
from npas_store.checks import INVALID, Check
from npas_store.database import transaction
from npas_store.settings import settings
from npas_store.transitions import reason
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from npas_local import confinement, privileges
from npas_local.check_process import ANSWER, CONTENT, THUMBNAILS
from npas_local.confinement import Limits, LostError, RefusedError, StoppedError, TimeOverError
from npas_local.processes import StartError

_MAX_FILES = 128
_MAX_ANSWER_BYTES = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_SECONDS = 30.0
_ARRAYS = 3
"""Memory that a check needs, in sizes of the arrays that it makes."""
_MEND = "mend the file, and send it again as another dataset"
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)

log = logging.getLogger(__name__)


class Checker:
    """Checks datasets that have arrived until it is stopped; for a thread that lives on."""

    def __init__(self) -> None:
        """Be ready; nothing is checked yet."""
        self._stopping = threading.Event()

    def check_all(self) -> int:
        """Check all that wait, and return how many were taken up; safe in any process."""
        taken = 0
        while not self._stopping.is_set():
            with transaction() as session:
                check = checks.take(session)
            if check is None:
                break
            taken += 1
            self._check(check)
        return taken

    def stop(self) -> None:
        """Give back what is being checked, and take nothing more."""
        self._stopping.set()

    def _check(self, check: Check) -> None:
        """Check a dataset and record what came of it."""
        try:
            self._try(check)
        except DataError as error:  # of the database: names of a kind that it does not keep
            log.warning("what was found of %s cannot be stored: %s", check.dataset_id, error)
            why = reason(INVALID, "a name in it has characters that cannot be stored", hint=_MEND)
            if _write(lambda session: checks.refuse(session, check, why)):
                uploads.clear_up(check.dataset_id)

    def _try(self, check: Check) -> None:
        try:
            with (
                confinement.lease_kept(partial(checks.renew, check=check)) as counts,
                _room(check) as folder,
            ):
                answer = self._answer(check, folder, counts)
                _record(check, folder, answer)
        except StoppedError:
            _write(lambda session: checks.give_back(session, check, None, 0))
        except (LostError, StartError, FileNotFoundError) as error:
            log.warning("the check of %s is lost: %s", check.dataset_id, error)
            told = str(error)
            _write(lambda session: checks.fail(session, check, told))
        except OSError as error:
            log.warning("the check of %s waits: %s", check.dataset_id, error)
            if error.errno in _FULL:
                why = reason("disk_full", f"the server's disk has no room: {error.strerror}")
                _write(lambda session: checks.give_back(session, check, why, _FULL_SECONDS))
            else:
                told = f"the server's disk fails: {error}"
                _write(lambda session: checks.fail(session, check, told))
        except RefusedError as error:
            log.info("%s is refused: %s", check.dataset_id, error)
            told_why = error.reason
            if _write(lambda session: checks.refuse(session, check, told_why)):
                uploads.clear_up(check.dataset_id)

    def _answer(self, check: Check, folder: Path, counts: threading.Event) -> dict[str, Any]:
        """Have a process look at the bytes, and return its answer.

        Raises:
            RefusedError: it met a limit, or its decoders crashed.
            LostError: it ended otherwise.
            StoppedError: nobody wants to know any more.
        """
        kills, limits = machine.num_kills_for_memory(), _limits()
        process = _start(check, folder, limits)

        def is_wanted() -> bool:
            uploads.require_room(0)
            return counts.is_set() and not self._stopping.is_set()

        try:
            confinement.see_to_its_end(process, limits, is_wanted)
        except TimeOverError:
            raise _exceeded("time") from None
        if process.returncode != 0:
            raise _ended(process.returncode, folder, machine.num_kills_for_memory() > kills)
        return _read_answer(folder)


def _limits() -> Limits:
    memory = settings().check_megabytes * uploads.MEGABYTE
    return Limits(
        memory_bytes=memory,
        file_bytes=memory,
        seconds=settings().check_seconds,
        files=_MAX_FILES,
    )


def _start(check: Check, folder: Path, limits: Limits) -> "subprocess.Popen[bytes]":
    source = uploads.content(check.dataset_id)
    order = {
        "source": str(source),
        "folder": str(folder),
        "format": check.format,
        "options": dict(check.options),
        "sha256": check.sha256,
        "array_bytes": settings().check_megabytes * uploads.MEGABYTE // _ARRAYS,
    }
    become = privileges.unprivileged(Path(sys.executable), source.parent)
    return confinement.start("npas_local.check_process", order, folder, limits, become)


@contextmanager
def _room(check: Check) -> Iterator[Path]:
    """Make a folder for a check, and take it away whatever happens."""
    for left in uploads.folder_of(check.dataset_id).glob("check-*"):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    if not uploads.content(check.dataset_id).is_file():
        why = "the bytes that were sent are no longer on the server's disk"
        raise RefusedError(reason("upload_lost", why, hint="send it again: POST /v1/datasets"))
    folder = uploads.folder_of(check.dataset_id) / f"check-{check.number}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_answer(folder: Path) -> dict[str, Any]:
    """Return the answer; whoever wrote it may have been taken over by what it read."""
    with _product(folder / ANSWER).open("rb") as file:
        text = file.read(_MAX_ANSWER_BYTES + 1)
    if len(text) > _MAX_ANSWER_BYTES:
        told = f"what there is to tell of it has more than {_MAX_ANSWER_BYTES:,} bytes"
        raise RefusedError(reason(INVALID, told, hint="use fewer or shorter names in it"))
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise LostError(f"the check's answer cannot be read: {error}") from None
    if not isinstance(answer, dict):
        raise LostError("the check's answer cannot be read")
    return answer


def _product(path: Path) -> Path:
    """Return a file that a check left; no link, which might lead to what is not its own.

    Raises:
        LostError: it left none.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        raise LostError(f"the check left no {path.name}") from None
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise LostError(f"the check left something else than a file as {path.name}")
    return path


def _record(check: Check, folder: Path, answer: Mapping[str, Any]) -> None:
    """Store what a check found, or raise what it did not like."""
    if answer.get("full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "found" not in answer:
        raise _refused(answer)
    product = _product(folder / CONTENT)
    uploads.require_room(product.stat().st_size)  # for a moment there are two of it
    content = blobs.put(product)
    picture = folder / THUMBNAILS
    report = dict(answer["found"])
    found = checks.Found(
        facts=report.get("facts") or {},
        report=report,
        content=content,
        thumbnails=blobs.put(_product(picture)) if picture.exists() else None,
    )
    files = {folder / CONTENT: content}
    if found.thumbnails is not None:
        files[picture] = found.thumbnails

    def accept(session: Session) -> bool:
        garbage.secure(session, files)
        return checks.accept(session, check, found)

    if _write(accept):
        if check.format != datasets.WEIGHTS:
            datasets.materialise(check.dataset_id, content.sha256)
        uploads.clear_up(check.dataset_id)


def _write(change: Callable[..., bool]) -> bool:
    with transaction() as session:
        return change(session)


def _refused(answer: Mapping[str, Any]) -> RefusedError:
    if limit := answer.get("exceeded"):
        return _exceeded(limit)
    if refused := answer.get("refused"):
        field = str(refused.get("field", ""))
        return RefusedError(reason(INVALID, str(refused["message"]), hint=_MEND, field=field))
    log.error("a check failed:\n%s", answer.get("failed"))
    return RefusedError(
        reason(
            "check_failed",
            "it could not be read, and npas did not foresee how",
            hint="the log of the API has the details; if the file is in order, that is a fault of "
            "npas: please report it",
        )
    )


def _exceeded(limit: str) -> RefusedError:
    megabytes = f"{settings().check_megabytes:,} MB"
    told = {
        "memory": (f"reading it needs more than {megabytes} of memory", "NPAS_CHECK_MEGABYTES"),
        "size": (f"what it unpacks to has more than {megabytes}", "NPAS_CHECK_MEGABYTES"),
        "time": (f"reading it takes more than {settings().check_seconds} s", "NPAS_CHECK_SECONDS"),
    }
    message, setting = told[limit]
    hint = f"send less, such as fewer or smaller images; who runs the service may raise {setting}"
    return RefusedError(reason(INVALID, message, hint=hint))


def _ended(code: int, folder: Path, is_for_memory: bool) -> Exception:
    """Return what the end of a process means that left no answer."""
    if code == -signal.SIGXCPU:
        return _exceeded("time")
    if -code in _CRASHES:
        name = signal.Signals(-code).name
        told = f"what reads it crashed ({name}): it is damaged, or is not what it says it is"
        return RefusedError(reason(INVALID, told, hint="write the file again, and send that"))
    if is_for_memory:
        return LostError("it was killed while the machine ran out of memory")
    return LostError(f"it ended with {code}: {confinement.last_words(folder)}")
