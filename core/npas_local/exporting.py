"""Makes exports that users asked for, in a process with limits: one after the other.

Exporters are large programs that meet networks they were not written for; the process gets a
folder of its own, limits of memory, time and file size, and no environment. Whatever becomes of
it, the export ends as succeeded or as failed with a reason, and its folder is deleted.
"""

import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from npas_store import blobs, exports, garbage, machine, uploads
from npas_store.database import transaction
from npas_store.exports import Making
from npas_store.lineage import MODEL
from npas_store.settings import settings
from npas_store.transitions import reason
from sqlalchemy.orm import Session

from npas_local import confinement
from npas_local.confinement import Limits, LostError, RefusedError, StoppedError, TimeOverError
from npas_local.export_process import ANSWER, PRODUCT

_PAUSE_SECONDS = 30.0
_MAX_FILES = 256

log = logging.getLogger(__name__)


class Exporter:
    """Makes exports until it is stopped; for a thread that lives on."""

    def __init__(self) -> None:
        """Be ready; nothing is made yet."""
        self._stopping = threading.Event()

    def make_all(self) -> int:
        """Make all that wait, and return how many were taken up; safe in any process."""
        taken = 0
        while not self._stopping.is_set():
            with transaction() as session:
                making = exports.take_export(session)
            if making is None:
                break
            taken += 1
            self._make(making)
        return taken

    def stop(self) -> None:
        """Give back what is being made, and take nothing more."""
        self._stopping.set()

    def _make(self, making: Making) -> None:
        """Make an export and record what came of it."""
        try:
            renew = partial(exports.renew_export, making=making)
            with confinement.lease_kept(renew) as counts, _place(making) as folder:
                _keep(making, folder, self._made(making, folder, counts))
        except StoppedError:
            _changed(lambda session: exports.give_export_back(session, making))
        except RefusedError as error:
            log.info("%s is refused: %s", making.export_id, error)
            told = {**error.reason, "message": _without_places(error.reason["message"], making)}
            _changed(lambda session: exports.refuse_export(session, making, told))
        except (LostError, OSError) as error:
            log.warning("%s is lost: %s", making.export_id, error)
            message = _without_places(str(error), making)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                full = reason("disk_full", f"the server's disk has no room: {error.strerror}")
                _changed(
                    lambda session: exports.give_export_back(session, making, full, _PAUSE_SECONDS)
                )
            else:
                _changed(lambda session: exports.lose_export(session, making, message))

    def _made(self, making: Making, folder: Path, counts: threading.Event) -> dict[str, Any]:
        """Have a process write the file, and return its answer.

        Raises:
            RefusedError: there is no network, or it met a limit.
            LostError: it ended otherwise.
            StoppedError: nobody wants to know any more.
        """
        kills = machine.num_kills_for_memory()
        limits = Limits(
            memory_bytes=None,
            file_bytes=_memory_bytes(),
            seconds=settings().export_seconds,
            files=_MAX_FILES,
        )
        process = _started(making, folder, limits)

        def is_wanted() -> bool:
            uploads.require_room(0)
            return counts.is_set() and not self._stopping.is_set()

        try:
            confinement.see_to_its_end(process, limits, is_wanted)
        except TimeOverError:
            raise _too_large("time") from None
        if process.returncode != 0:
            is_for_memory = machine.num_kills_for_memory() > kills
            raise _ended(process.returncode, folder, is_for_memory)
        try:
            answer: dict[str, Any] = json.loads((folder / ANSWER).read_text())
        except ValueError as error:
            raise LostError(f"its answer is no JSON: {error}") from error
        return answer


def _memory_bytes() -> int:
    return settings().export_megabytes * uploads.MEGABYTE


def _ended(code: int, folder: Path, is_for_memory: bool) -> Exception:
    """Return what the end of a process means that left no answer."""
    if code == -signal.SIGXCPU:
        return _too_large("time")
    told = confinement.last_words(folder)
    if code == -signal.SIGABRT and "bad_alloc" in told:  # where C++ lets no error out
        return _too_large("memory")
    if is_for_memory:
        told = "the machine ran out of memory"
    return LostError(f"it ended with {code}: {told}")


def _started(making: Making, folder: Path, limits: Limits) -> "subprocess.Popen[bytes]":
    source = None if making.model is None else blobs.path(making.model)
    if source is None or not source.is_file():
        why = "the network that the job delivered is no longer on the server's disk"
        hint = "the same request of a job, under a new Idempotency-Key, makes it again"
        raise RefusedError(reason("model_lost", why, hint=hint))
    order = {
        "source": str(source),
        "folder": str(folder),
        "spec": dict(making.spec),
        "memory_bytes": _memory_bytes(),
    }
    return confinement.start("npas_local.export_process", order, folder, limits)


@contextmanager
def _place(making: Making) -> Iterator[Path]:
    """Make a folder for a try, and take it away whatever happens."""
    place = settings().jobs / making.job_id
    for left in place.glob(f"export-{making.export_id}-*"):  # by a try that was killed
        shutil.rmtree(left, ignore_errors=True)
    folder = place / f"export-{making.export_id}-{making.number}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(making: Making, folder: Path, answer: Mapping[str, Any]) -> None:
    """Store what a process made, or raise what kept it from that."""
    if answer.get("full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "found" not in answer:
        raise _why_not(answer)
    found, product = answer["found"], folder / PRODUCT
    uploads.require_room(product.stat().st_size)  # for a moment there are two of it
    blob = blobs.put(product)

    def accept(session: Session) -> bool:
        garbage.secure(session, {product: blob})
        return exports.accept_export(session, making, found["name"], blob, found["facts"])

    _changed(accept)


def _without_places(told: str, making: Making) -> str:
    """Return a message that names files without saying where on the server they lie."""
    if making.model is not None:
        told = told.replace(str(blobs.path(making.model)), MODEL)
    roots = {str(each) for each in (settings().home, sys.prefix, sys.base_prefix)}
    found = "|".join(map(re.escape, sorted(roots, key=len, reverse=True)))
    return re.sub(rf"(?:{found})(?:/[^/\s'\":,;]+)+", lambda m: m[0].rpartition("/")[2], told)


def _changed(change: Callable[..., bool]) -> bool:
    with transaction() as session:
        return change(session)


def _why_not(answer: Mapping[str, Any]) -> RefusedError:
    if limit := answer.get("exceeded"):
        return _too_large(limit)
    if told := answer.get("refused"):
        return RefusedError(
            reason(str(told["code"]), str(told["message"]), field=str(told["field"]))
        )
    log.error("an export failed:\n%s", answer.get("failed"))
    return RefusedError(
        reason(
            "export_failed",
            "it could not be made, and npas did not foresee how",
            hint="the log of the API has the details: please report it with the job's plan",
        )
    )


def _too_large(limit: str) -> RefusedError:
    told = {
        "memory": f"it needs more than {settings().export_megabytes:,} MB of memory of its own",
        "time": f"it takes more than {settings().export_seconds} s",
    }
    setting = {"memory": "NPAS_EXPORT_MEGABYTES", "time": "NPAS_EXPORT_SECONDS"}[limit]
    hint = (
        "export it from model.safetensors with npas.export; who runs the service may raise "
        f"{setting}"
    )
    return RefusedError(reason("export_too_large", told[limit], hint=hint))
