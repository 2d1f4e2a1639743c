"""The Celery side of a worker: hear a message, take whatever job there is, until there is none.

Celery's main process listens to Redis; one pool process (`-c 1`) takes the jobs, one at a time.
Each dies with its parent, so that `kill -9` of any of them frees what it held.
"""

import contextlib
import logging
import mmap
import os
import signal
import socket
import threading
import time

from celery import Celery, signals
from npas_local.processes import die_with
from npas_store import broker, claims, homes, measurements, migrate, room, workers
from npas_store.database import UNREACHABLE, transaction
from npas_store.settings import settings
from npas_store.tables import Job
from npas_store.transitions import reason
from sqlalchemy.orm import Session

from npas_worker.held import HeldClaim
from npas_worker.proof import Proof, Speed
from npas_worker.supervisor import Supervisor

_RETRY_SECONDS = 1.0
_BUSY_SECONDS = 0.05
_ASIDE_SECONDS = 0.2

log = logging.getLogger(__name__)


class Slot:
    """What Celery's main process and its pool process share: who they are, and when to leave."""

    def __init__(self) -> None:
        """Remember this process as the main one; make it before the pool is forked."""
        self._main = os.getpid()
        self.name = f"{socket.gethostname()}:{self._main}"
        self._flag = mmap.mmap(-1, 1)  # shared with the processes forked from this one
        self._held = HeldClaim()
        self._left: tuple[str, int] | None = None
        self._proof = Proof()

    def drain(self, *_: object, **__: object) -> None:
        """Have the running job saved and given back, and take no more; safe in a handler."""
        self._flag[0] = 1

    def leave(self, *_: object) -> None:
        """Drain, and have Celery's main process end: it would wait for jobs, and get none."""
        if not self.is_draining():
            self.drain()
            os.kill(self._main, signal.SIGTERM)

    def is_draining(self) -> bool:
        """Tell whether `drain` was called, in whichever process."""
        return bool(self._flag[0])

    def enter_pool(self, **_: object) -> None:
        """Prepare a fresh pool process."""
        die_with(self._main)
        self._left = self._held.read()
        self._held.clear()
        threading.Thread(target=self._proof.watch, name="proof", daemon=True).start()
        threading.Thread(target=self._show, name="presence", daemon=True).start()

    def _show(self) -> None:
        """Say for ever that this worker is there, and how fast it is."""
        told: Speed | None = None
        while True:
            shown = self._proof.trouble
            try:
                self._give_back()
                with transaction() as session:
                    _check(session)  # else it is of no use
                    workers.beat(
                        session,
                        self.name,
                        trouble=shown,
                        memory_bytes=self._proof.memory_bytes,
                        free_bytes=room.free_bytes(),
                        machine=self._proof.machine,
                    )
                told = self._tell_speed(told)
            except UNREACHABLE as error:
                log.warning("Postgres is away: %s", error)
            except _NOT_OURS as error:
                log.error("this worker is of no use: %s", error)
            except OSError as error:
                log.warning("the home cannot be looked at: %s", error)
            until = time.monotonic() + settings().lease_seconds / 3
            while time.monotonic() < until and self._proof.trouble == shown:
                time.sleep(min(_RETRY_SECONDS, settings().lease_seconds / 3))

    def _give_back(self) -> None:
        """Give back the job of a process that was killed in whose place this one is.

        Its training was killed with it, so that nobody need wait for the lease to run out.
        """
        if self._left is None:
            return
        why = reason("worker_lost", f"the supervisor at {self.name} was killed")
        with contextlib.suppress(claims.LeaseLostError), transaction() as session:
            claims.lose(session, *self._left, why)
        self._left = None

    def _tell_speed(self, told: Speed | None) -> Speed | None:
        """Keep how fast the device is, once, for estimates; return what is kept."""
        speed, machine = self._proof.speed, self._proof.machine
        if speed is not None and machine is not None and speed is not told:
            with transaction() as session:
                measurements.record(session, machine, measurements.PROBE, speed)
        return speed

    def take_jobs(self) -> None:
        """Do what a message asks for: take jobs until there are none.

        SIGTERM is heard meanwhile. It cannot be for good: Celery's pool sets its own handlers
        after a process of it is prepared, and would end an idle one by that signal.
        """
        before = signal.signal(signal.SIGTERM, self.leave)
        try:
            self._take_all()
        finally:
            signal.signal(signal.SIGTERM, before)

    def _take_all(self) -> None:
        while job := self._claim():
            log.info("claim %d of %s", job.claim_number, job.id)
            self._held.note(job.id, job.claim_number)
            if Supervisor(job, self.is_draining).run():
                self._proof.demand()
            self._held.clear()

    def _claim(self) -> Job | None:
        is_told = False
        while not self.is_draining():
            try:
                with transaction() as session:
                    _check(session)
                    job = self._take(session) if self._proof.is_fit else None
                    if job or not claims.is_any_due(session, free_bytes=room.free_bytes()):
                        return job
                is_told = is_told or (self._proof.is_sick and _tell_another())
                time.sleep(_BUSY_SECONDS if self._proof.is_fit else _ASIDE_SECONDS)
            except UNREACHABLE as error:
                log.warning("Postgres is away, the message is kept: %s", error)
                time.sleep(_RETRY_SECONDS)
            except _NOT_OURS as error:
                log.error("no job is taken: %s", error)
                return None  # jobs that wait are announced again
        return None

    def _take(self, session: Session) -> Job | None:
        return claims.claim(session, self.name, free_bytes=room.free_bytes())


def _tell_another() -> bool:
    """Notify another worker: this one, which heard the message, cannot take the job."""
    with contextlib.suppress(broker.BrokerDownError):  # it is sent again later
        broker.notify(1)
    return True


_NOT_OURS = (homes.HomeError, migrate.SchemaError)


def _check(session: Session) -> None:
    """Check what may have changed since the start: a disk that went, a newer version that came."""
    homes.check(session)
    migrate.require(session)


def app() -> Celery:
    """Return the Celery application with the one task that there is."""
    slot, made = Slot(), broker.app()
    made.task(name=broker.TASK)(slot.take_jobs)
    signals.worker_process_init.connect(slot.enter_pool, weak=False)
    signals.worker_shutting_down.connect(slot.drain, weak=False)
    return made
