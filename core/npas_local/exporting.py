"""Makes exports that users asked for, in a process with limits: one after the other.

Exporters are large programs that meet networks they were not written for; the process gets a
folder of its own, limits of memory, time and file size, and no environment. Whatever becomes of
it, the export ends as succeeded or as failed with a reason, and its folder is deleted.
"""

import contextlib
import errno
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from npas_store import blobs, exports, garbage, machine
from npas_store.database import UNREACHABLE, transaction
from npas_store.exports import Making
from npas_store.settings import settings
from npas_store.transitions import reason
from sqlalchemy.orm import Session

from npas_local.export_process import ANSWER, PRODUCT
from npas_local.processes import die_with

_LOOK_SECONDS = 0.05
_MEGABYTE = 1_000_000
_FULL_SECONDS = 30.0
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX")

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """This process is to end, or the export is not wanted any more."""


class LostError(Exception):
    """The process that exports is gone, for no fault of the network; the message says how."""


class RefusedError(Exception):
    """The export cannot be made; `reason` is a `transitions.reason`."""

    def __init__(self, told: dict[str, str]) -> None:
        super().__init__(told["message"])
        self.reason = told


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
                making = exports.take(session)
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
            with _kept(making) as counts, _room(making) as folder:
                _record(making, folder, self._answer(making, folder, counts))
        except StoppedError:
            _write(lambda session: exports.give_back(session, making))
        except RefusedError as error:
            log.info("%s is refused: %s", making.export_id, error)
            told = error.reason
            _write(lambda session: exports.refuse(session, making, told))
        except (LostError, OSError) as error:
            log.warning("%s is lost: %s", making.export_id, error)
            message = str(error)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                _write(lambda session: exports.give_back(session, making, _FULL_SECONDS))
            else:
                _write(lambda session: exports.fail(session, making, message))

    def _answer(self, making: Making, folder: Path, counts: threading.Event) -> dict[str, Any]:
        """Have a process write the file, and return its answer.

        Raises:
            RefusedError: there is no network, or it met a limit.
            LostError: it ended otherwise.
            StoppedError: nobody wants to know any more.
        """
        kills = machine.num_kills_for_memory()
        process = _start(making, folder)
        deadline = time.monotonic() + settings().export_seconds
        try:
            while process.poll() is None:
                if self._stopping.is_set() or not counts.is_set():
                    raise StoppedError
                if time.monotonic() > deadline:
                    raise _exceeded("time")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it may have started
            process.wait()
        if process.returncode != 0:
            if process.returncode == -signal.SIGXCPU:
                raise _exceeded("time")
            is_for_memory = machine.num_kills_for_memory() > kills
            told = "the machine ran out of memory" if is_for_memory else _last_words(folder)
            raise LostError(f"it ended with {process.returncode}: {told}")
        answer: dict[str, Any] = json.loads((folder / ANSWER).read_text())
        return answer


def _start(making: Making, folder: Path) -> "subprocess.Popen[bytes]":
    source = None if making.model is None else blobs.path(making.model)
    if source is None or not source.is_file():
        why = "the network that the job delivered is no longer on the server's disk"
        hint = "the same request of a job, under a new Idempotency-Key, makes it again"
        raise RefusedError(reason("model_lost", why, hint=hint))
    parent = os.getpid()

    def enter() -> None:
        _limit()
        die_with(parent)

    order = {"source": str(source), "folder": str(folder), "spec": dict(making.spec)}
    program = [sys.executable, "-P", "-m", "npas_local.export_process", json.dumps(order)]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    own = dict.fromkeys(_THREADS, "1") | dict.fromkeys(("HOME", "TMPDIR"), str(folder))
    with (folder / "log").open("ab") as output:
        try:
            return subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**kept, **own, "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
                preexec_fn=enter,
            )
        except subprocess.SubprocessError as error:
            raise LostError(f"no process can be started: {error}") from error


def _limit() -> None:
    """Bound what the calling process, and all that it starts, may take."""
    memory, seconds = settings().export_megabytes * _MEGABYTE, settings().export_seconds
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CORE, 0),
    ):
        _, allowed = resource.getrlimit(kind)
        least = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(kind, (least, least))


def _last_words(folder: Path) -> str:
    words = (folder / "log").read_text(errors="replace").strip().splitlines()
    return words[-1][:300] if words else "without a word"


@contextmanager
def _room(making: Making) -> Iterator[Path]:
    """Make a folder for a try, and take it away whatever happens."""
    place = settings().jobs / making.job_id
    folder = place / f"export-{making.export_id}"
    shutil.rmtree(folder, ignore_errors=True)  # of a try that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _kept(making: Making) -> Iterator[threading.Event]:
    """Keep a try's lease for the length of the block; gives whether it still counts."""
    counts, over = threading.Event(), threading.Event()
    counts.set()

    def renew() -> None:
        while not over.wait(settings().lease_seconds / 3):
            with contextlib.suppress(*UNREACHABLE), transaction() as session:
                if not exports.renew(session, making):
                    counts.clear()

    thread = threading.Thread(target=renew, name="export-lease", daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def _record(making: Making, folder: Path, answer: Mapping[str, Any]) -> None:
    """Store what a process made, or raise what kept it from that."""
    if answer.get("full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "found" not in answer:
        raise _refused(answer)
    found, product = answer["found"], folder / PRODUCT
    blob = blobs.put(product)

    def accept(session: Session) -> bool:
        garbage.secure(session, {product: blob})
        return exports.accept(session, making, found["name"], blob, found["facts"])

    _write(accept)


def _write(change: Callable[..., bool]) -> bool:
    with transaction() as session:
        return change(session)


def _refused(answer: Mapping[str, Any]) -> RefusedError:
    if limit := answer.get("exceeded"):
        return _exceeded(limit)
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


def _exceeded(limit: str) -> RefusedError:
    told = {
        "memory": f"it needs more than {settings().export_megabytes:,} MB of memory",
        "time": f"it takes more than {settings().export_seconds} s",
    }
    setting = {"memory": "NPAS_EXPORT_MEGABYTES", "time": "NPAS_EXPORT_SECONDS"}[limit]
    hint = (
        "export it from model.safetensors with npas.export; who runs the service may raise "
        f"{setting}"
    )
    return RefusedError(reason("export_too_large", told[limit], hint=hint))
