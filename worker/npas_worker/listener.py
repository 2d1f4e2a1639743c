"""What the library's run tells, handed to the writer; and what it asks: whether to stop."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npas.jobs.listener import Listener
from npas.plans import Plan
from npas.train import Command
from npas_store import blobs, events, metrics, plans, resume_files
from sqlalchemy.orm import Session

from npas_worker.protocol import PULSE
from npas_worker.signals import Signals
from npas_worker.stopwatch import Stopwatch
from npas_worker.writer import Writer


class StoreListener(Listener):
    """Writes to the store what a run reports."""

    def __init__(
        self,
        job_id: str,
        claim_number: int,
        writer: Writer,
        signals: Signals,
        stopwatch: Stopwatch,
    ) -> None:
        """Listen for one claim."""
        self._job_id, self._claim_number = job_id, claim_number
        self._writer, self._signals, self._stopwatch = writer, signals, stopwatch
        self._pulse = resume_files.folder(job_id, claim_number) / PULSE
        self._beaten = 0.0
        self._unwritten = self._pulse

    def start(self) -> None:
        """Make the claim's folder, where progress shows.

        Raises:
            OSError: it cannot be written.
        """
        self._pulse.parent.mkdir(parents=True, exist_ok=True)
        self._pulse.touch()

    def phase(self, name: str) -> None:
        """Show the phase, and tell it as an event."""
        self._alive()
        self._writer.report(phase=name)
        self.event("phase", name, {"phase": name})

    def event(self, type: str, message: str, data: Mapping[str, Any]) -> None:
        """Tell the user something."""
        news = events.News(type=type, message=message, data=dict(data))
        self._stopwatch.event(type, news.data)
        self._writer.add_to(self._append, news)

    def plan(self, version: int, plan: Plan) -> None:
        """Keep a version of the plan; the job shows its size."""
        document = plan.to_json()
        self._writer.add(lambda session: plans.record(session, self._job_id, version, document))
        self._writer.report(parameters=plan.ledger.total)

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Keep one epoch of the learning curve, which is an event, too."""
        self._stopwatch.epoch(row)
        self._writer.add_to(self._record, dict(row))

    def progress(self, fraction: float, eta_seconds: float | None) -> None:
        """Show how far the job is."""
        self._alive()
        self._writer.report(progress=fraction, eta_seconds=eta_seconds)

    def checkpoint(self, path: Path, step: int) -> None:
        """Register a file to go on from, in place of the oldest."""
        self._alive()
        kept = resume_files.keep(self._job_id, self._claim_number, path, step)
        blob = blobs.measure(kept)
        is_replaced = self._writer.replace(
            "checkpoint",
            lambda session: resume_files.record(
                session, self._job_id, self._claim_number, kept, blob, step
            ),
        )
        if is_replaced and self._unwritten != kept:
            self._unwritten.unlink(missing_ok=True)
        self._unwritten = kept

    def command(self) -> Command:
        """Tell the training whether to go on; it asks at each step."""
        self._alive()
        self._stopwatch.stepping()
        if self._signals.finish:
            return Command.FINISH
        return Command.PAUSE if self._signals.pause else Command.CONTINUE

    def _append(self, session: Session, news: Sequence[events.News]) -> None:
        events.append_all(session, self._job_id, news)

    def _record(self, session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
        metrics.record_all(session, self._job_id, rows)

    def _alive(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= 1:
            self._beaten = now
            os.utime(self._pulse)
