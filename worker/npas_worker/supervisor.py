"""Holds one claim: renews its lease, watches over the process that trains, and says how it ended.

It must stay small and imports no torch: it has to beat while the training uses every core, and
the GPU belongs to the training process alone.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from npas_local.processes import die_with
from npas_store import claims, datasets, logs, machine, resume_files
from npas_store.claims import LeaseLostError
from npas_store.database import UNREACHABLE, reading, transaction
from npas_store.logs import LogFile
from npas_store.settings import settings
from npas_store.tables import Job
from npas_store.transitions import reason

from npas_worker.failures import explain
from npas_worker.log_pump import LogPump
from npas_worker.protocol import FINISH, LOST, PAUSE, PAUSED, PULSE, SHOW, SIGNALS

_LOOK_SECONDS = 0.1
_ASK_SECONDS = 1.0
_DUMP_SECONDS = 2.0
_FIRST_TO_KILL = Path("/proc/self/oom_score_adj")
"""Where a process says how gladly it would be killed when memory runs out, up to 1000."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claim:
    """What a claim says.

    Attributes:
        job_id: of the job.
        number: of the claim.
        threads: that the training uses.
        is_to_deliver: whether all that is left to do is to deliver the best network so far.
    """

    job_id: str
    number: int
    threads: int
    is_to_deliver: bool


class Supervisor:
    """The keeper of one claim."""

    def __init__(self, job: Job, is_draining: Callable[[], bool]) -> None:
        """Take charge of a claimed job; nothing runs yet.

        Args:
            is_draining: whether this worker was asked to leave.
        """
        self._claim = _Claim(
            job_id=job.id,
            number=job.claim_number,
            threads=job.threads or settings().threads,
            is_to_deliver=job.cancel_requested,
        )
        self._is_draining = is_draining
        self._folder = resume_files.folder(job.id, job.claim_number)
        self._beat_at = self._ask_at = 0.0
        self._kill_at: float | None = None
        self._loss: dict[str, str] | None = None
        self._num_kills = machine.num_kills_for_memory()
        self._pulse: tuple[int, float] = (0, time.monotonic())
        self._pump: LogPump | None = None

    def run(self) -> bool:
        """Train until the job has ended or the claim is over.

        Returns:
            Whether the training was lost, for which this machine may be to blame.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            process = self._start()
        except (OSError, subprocess.SubprocessError) as error:
            why = explain(error)
            code = why["code"] if why["code"] == "disk_full" else "machine_failed"
            self._loss = reason(code, f"the training cannot be started: {error}")
            return self._conclude(LOST)
        if self._claim.is_to_deliver:
            process.send_signal(FINISH)  # and no deadline: it is all that is left to do
        try:
            while process.poll() is None:
                self._look(process)
                self._wait(process)
        except LeaseLostError as error:
            log.info("%s", error)
        finally:
            self._kill(process)
        return self._conclude(process.returncode)

    def _start(self) -> "subprocess.Popen[bytes]":
        parent = os.getpid()

        def enter() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until it has handlers
            die_with(parent)
            with contextlib.suppress(OSError):  # not every kernel has it
                _FIRST_TO_KILL.write_text("1000")

        # Threads that spin while they wait make a step up to ten times slower on busy cores.
        threads = {
            "OMP_NUM_THREADS": str(self._claim.threads),
            "MKL_NUM_THREADS": str(self._claim.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            datasets.LIBRARY_FOLDER: str(settings().datasets),
        }
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "npas_worker.train_process",
                self._claim.job_id,
                str(self._claim.number),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env={**os.environ, **threads},
            start_new_session=True,
            preexec_fn=enter,
        )
        assert process.stdout is not None
        most_bytes = settings().log_megabytes * 2**20
        log_file = LogFile(self._claim.job_id, self._claim.number, most_bytes=most_bytes)
        self._pump = LogPump(process.stdout, log_file)
        return process

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        try:
            process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            return

    def _look(self, process: "subprocess.Popen[bytes]") -> None:
        now = time.monotonic()
        if self._kill_at is not None and now > self._kill_at:
            log.warning("%s did not stop in time and is killed", self._claim.job_id)
            self._kill(process)
            return
        if self._is_draining():
            self._ask_to_stop(process, PAUSE)
        if now >= self._beat_at or now >= self._ask_at:
            self._keep(process, now)
        self._look_for_stall(process, now)

    def _keep(self, process: "subprocess.Popen[bytes]", now: float) -> None:
        """Renew the lease when it is time, and hear whether the user cancelled."""
        self._ask_at = now + _ASK_SECONDS
        try:
            with transaction() as session:
                if now >= self._beat_at:
                    is_cancelled = claims.beat(session, self._claim.job_id, self._claim.number)
                    self._beat_at = now + settings().lease_seconds / 3
                else:
                    is_cancelled = claims.is_cancel_requested(
                        session, self._claim.job_id, self._claim.number
                    )
        except UNREACHABLE as error:
            log.warning("Postgres is away, training goes on: %s", error)
            return
        if is_cancelled and not self._claim.is_to_deliver:
            self._ask_to_stop(process, FINISH)

    def _ask_to_stop(self, process: "subprocess.Popen[bytes]", word: signal.Signals) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + settings().grace_seconds
            process.send_signal(word)

    def _look_for_stall(self, process: "subprocess.Popen[bytes]", now: float) -> None:
        """Kill a training that has not made a step for too long; its stacks go to its log."""
        try:
            pulse = (self._folder / PULSE).stat().st_mtime_ns
        except FileNotFoundError:
            pulse = 0
        if pulse != self._pulse[0]:
            self._pulse = (pulse, now)
        silent = now - self._pulse[1]
        if silent > settings().stall_seconds and self._loss is None:
            self._loss = reason("stalled", f"the training made no step for {silent:.0f} s")
            process.send_signal(SHOW)
            self._kill_at = now + _DUMP_SECONDS

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill the training with everything it started, and wait."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._pump is not None:
            self._pump.finish()

    def _conclude(self, code: int) -> bool:
        """Write how the claim ended, unless the training did that itself; then clear up.

        Returns:
            Whether it was a loss for which this machine may be to blame.
        """
        give_up = time.monotonic() + settings().grace_seconds
        while True:
            try:
                self._write_end(code)
                with transaction() as session:
                    resume_files.retire(session, self._claim.job_id)
                resume_files.tidy(self._claim.job_id, self._claim.number)
                return self._casts_doubt()
            except UNREACHABLE as error:
                log.warning("Postgres is away, cannot say how a training ended: %s", error)
            if self._is_draining() and time.monotonic() > give_up:
                return True  # the lease will run out
            time.sleep(_ASK_SECONDS)

    def _casts_doubt(self) -> bool:
        """Tell whether the machine may be to blame: what is written counts, not an exit code.

        A training that has written its loss may be killed before it exits.
        """
        with reading() as session:
            return claims.casts_doubt(session, self._claim.job_id, self._claim.number)

    def _write_end(self, code: int) -> None:
        was_stopped = self._is_draining() and self._loss is None
        try:
            with transaction() as session:
                if code == PAUSED or was_stopped:
                    claims.drain(session, self._claim.job_id, self._claim.number)
                else:
                    claims.lose(
                        session,
                        self._claim.job_id,
                        self._claim.number,
                        self._loss or self._why(code),
                    )
        except LeaseLostError:
            # Killed while it was about to exit, a training that ended well is no loss.
            log.info("claim %d of %s has ended", self._claim.number, self._claim.job_id)

    def _why(self, code: int) -> dict[str, str]:
        """Return the reason for a training that ended without a word of its own."""
        if code >= 0:
            message = f"the training ended with exit code {code}: {self._last_line()}"
            return reason("worker_lost", message)
        return killed_by(
            signal.Signals(-code),
            is_for_memory=machine.num_kills_for_memory() > self._num_kills,
        )

    def _last_line(self) -> str:
        told = logs.last_line(self._claim.job_id, self._claim.number)
        return told[:300] or "it said nothing"


def killed_by(number: signal.Signals, *, is_for_memory: bool) -> dict[str, str]:
    """Return the reason for a training that was killed.

    Args:
        number: what killed it.
        is_for_memory: whether the kernel has killed somebody for memory meanwhile.
    """
    if number == signal.SIGKILL and is_for_memory:
        return reason(
            "oom_host",
            "the kernel killed the training: the machine ran out of memory",
            field="/training/batch_size",
        )
    return reason("worker_lost", f"the training was killed by {number.name}")
