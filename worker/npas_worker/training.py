"""One claim's training: from the row that asks for it to the row that ends it."""

import json
import logging
from pathlib import Path
from typing import Any

import npas.run as library
import torch
from npas.errors import PlanError
from npas.jobs.promise import outdated
from npas.plans import Plan
from npas.spec import JobSpec
from npas_store import (
    artifacts,
    blobs,
    claims,
    datasets,
    garbage,
    jobs,
    plans,
    resume_files,
    transitions,
)
from npas_store.claims import LeaseLostError
from npas_store.database import reading
from npas_store.settings import settings
from npas_store.states import Ending
from npas_store.tables import Job
from sqlalchemy.orm import Session

from npas_worker.account import Account
from npas_worker.failures import explain
from npas_worker.listener import StoreListener
from npas_worker.patience import patiently
from npas_worker.protocol import ENDED, FENCED, LOST, PAUSED
from npas_worker.signals import Signals
from npas_worker.stopwatch import Stopwatch
from npas_worker.writer import Writer

log = logging.getLogger(__name__)


class Training:
    """The work of one claim."""

    def __init__(self, job_id: str, claim_number: int, signals: Signals) -> None:
        """Take it on; nothing happens yet.

        Args:
            signals: what the supervisor asks for.
        """
        self._job_id, self._claim_number = job_id, claim_number
        self._folder = resume_files.folder(job_id, claim_number)
        self._writer = Writer(job_id, claim_number)
        self._stopwatch = Stopwatch()
        self._account = Account(job_id, claim_number, self._stopwatch)
        self._listener = StoreListener(
            job_id, claim_number, self._writer, signals, self._stopwatch
        )

    def run(self) -> int:
        """Train, deliver, and return the exit code."""
        self._writer.start()
        try:
            return self._run()
        except LeaseLostError as error:
            log.warning("%s: this training ends", error)
            return FENCED

    def _run(self) -> int:
        try:
            outcome = self._train()
            if outcome.finished:
                self._listener.phase("publishing")
            self._writer.close()
            if not outcome.finished:
                self._writer.write_now(self._account.close)
                return PAUSED
            self._deliver(outcome)
        except LeaseLostError:
            raise
        except Exception as error:
            log.exception("the training failed")
            return self._fail(error)
        return ENDED

    def _train(self) -> library.Outcome:
        self._listener.start()
        job = patiently(self._job)
        datasets.verify(job.dataset, job.dataset_sha256)
        # Sums depend on how many threads share them: every attempt uses the same number.
        torch.set_num_threads(job.threads or settings().threads)
        spec = JobSpec.model_validate_json(json.dumps(job.spec))
        return library.run(
            spec,
            folder=self._folder,
            listener=self._listener,
            data_folder=settings().data_folder,
            resume_from=patiently(self._start),
            device=settings().device,
            checkpoint_seconds=settings().checkpoint_seconds,
            plan=self._plan(),
            adjustments=library.Adjustments.of(job.adjustments),
            spent_seconds=patiently(self._spent_seconds),
            start=blobs.path(spec.start.checkpoint) if spec.start else None,
        )

    def _job(self) -> Job:
        with reading() as session:
            return jobs.get(session, self._job_id)

    def _spent_seconds(self) -> float:
        with reading() as session:
            return claims.spent_seconds(session, self._job_id)

    def _plan(self) -> Plan:
        """Return the plan that the job was accepted with."""
        document = patiently(self._accepted)
        try:
            return Plan.from_json(document)
        except PlanError as error:
            raise outdated(error) from error

    def _accepted(self) -> str:
        with reading() as session:
            return plans.versions(session, self._job_id)[0].document

    def _start(self) -> Path | None:
        with reading() as session:
            found = next(resume_files.usable(session, self._job_id), None)
        if found is None:
            return None
        path, step = found
        self._stopwatch.resumed()
        self._writer.add(
            lambda session: claims.resumed(session, self._job_id, self._claim_number, step)
        )
        self._listener.event("resumed", f"going on after step {step}", {"step": step})
        return path

    def _deliver(self, outcome: library.Outcome) -> None:
        """Store the files, then make them and the end of the job visible at once."""
        stored = {name: blobs.put(path) for name, path in outcome.files.items()}

        model, is_whole = stored["model.safetensors"], not outcome.stopped_early

        def end(session: Session) -> None:
            garbage.secure(session, {outcome.files[name]: stored[name] for name in stored})
            for name, blob in stored.items():
                artifacts.record(session, self._job_id, name, blob)
            error = self._account.close(session, file_bytes=model.bytes, is_whole=is_whole)
            is_cancelled = jobs.get(session, self._job_id).cancel_requested
            state, message, why = _ending(outcome, is_cancelled=is_cancelled)
            claims.finish(
                session,
                self._job_id,
                self._claim_number,
                state,
                message=message,
                why=why,
                result=outcome.report | {"estimate_error": error},
            )

        self._writer.write_now(end)

    def _fail(self, error: Exception) -> int:
        """Write what became of the claim; the cause decides whether it is tried again."""
        why = explain(error)
        self._writer.close()

        def end(session: Session) -> None:
            self._account.close(session)
            claims.lose(session, self._job_id, self._claim_number, why)

        self._writer.write_now(end)
        return LOST


def _ending(
    outcome: library.Outcome, *, is_cancelled: bool
) -> tuple[Ending, str, dict[str, Any] | None]:
    """Return how a job ends that has a network to deliver: state, message and reason."""
    done = outcome.report["epochs_done"]
    if not outcome.stopped_early:
        return "succeeded", f"finished after {done} epochs", None
    if outcome.report.get("truncated") and not is_cancelled:
        message = (
            f"its time limit was over after {done} of {outcome.report['epochs']} epochs; the best "
            "network so far is delivered"
        )
        hint = "raise time_limit for more of them"
        return "succeeded", message, transitions.reason("timeout", message, hint=hint)
    message = f"cancelled after {done} epochs; the best network so far is kept"
    if not done:
        message = "cancelled before an epoch was finished; the network is kept as it began"
    return "cancelled", message, transitions.reason("user_cancelled", message)
