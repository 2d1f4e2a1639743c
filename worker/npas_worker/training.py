"""One claim's training: from the row that asks for it to the row that ends it."""

import json
import logging
from pathlib import Path

import npas.run as library
import torch
from npas.errors import PlanError
from npas.jobs.promise import outdated
from npas.plans import Plan
from npas.spec import JobSpec
from npas_store import artifacts, blobs, claims, jobs, plans, resume_files, transitions
from npas_store.claims import LeaseLostError
from npas_store.database import reading
from npas_store.settings import settings
from npas_store.states import Ending
from npas_store.tables import Job
from sqlalchemy.orm import Session

from npas_worker.failures import explain
from npas_worker.listener import StoreListener
from npas_worker.patience import patiently
from npas_worker.protocol import ENDED, FENCED, LOST, PAUSED
from npas_worker.signals import Signals
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
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = Writer(job_id, claim_number)
        self._listener = StoreListener(job_id, claim_number, self._writer, signals)

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
            self._writer.close()
            if not outcome.finished:
                return PAUSED
            self._deliver(outcome)
        except LeaseLostError:
            raise
        except Exception as error:
            log.exception("the training failed")
            return self._fail(error)
        return ENDED

    def _train(self) -> library.Outcome:
        job = patiently(self._job)
        # Sums depend on how many threads share them: every attempt uses the same number.
        torch.set_num_threads(job.threads or settings().threads)
        return library.run(
            JobSpec.model_validate_json(json.dumps(job.spec)),
            folder=self._folder,
            listener=self._listener,
            data_folder=settings().data_folder,
            resume_from=patiently(self._start),
            device=settings().device,
            checkpoint_seconds=settings().checkpoint_seconds,
            plan=self._plan(),
        )

    def _job(self) -> Job:
        with reading() as session:
            return jobs.get(session, self._job_id)

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
        self._writer.add(
            lambda session: claims.resumed(session, self._job_id, self._claim_number, step)
        )
        self._listener.event("resumed", f"going on after step {step}", {"step": step})
        return path

    def _deliver(self, outcome: library.Outcome) -> None:
        """Store the files, then make them and the end of the job visible at once."""
        self._writer.write_now(
            lambda session: claims.report(
                session, self._job_id, self._claim_number, {"phase": "publishing"}
            )
        )
        stored = {name: blobs.put(path) for name, path in outcome.files.items()}

        def end(session: Session) -> None:
            for name, blob in stored.items():
                artifacts.record(session, self._job_id, name, blob)
            done = outcome.report.get("epochs_done")
            if outcome.stopped_early:
                message = f"cancelled after {done} epochs; the best network so far is kept"
                why = transitions.reason("user_cancelled", message)
                state: Ending = "cancelled"
            else:
                message, why, state = f"finished after {done} epochs", None, "succeeded"
            claims.finish(
                session,
                self._job_id,
                self._claim_number,
                state,
                message=message,
                why=why,
                result=outcome.report,
            )

        self._writer.write_now(end)

    def _fail(self, error: Exception) -> int:
        failure = explain(error)
        self._writer.close()

        def end(session: Session) -> None:
            if not failure.is_final:
                claims.lose(session, self._job_id, self._claim_number, failure.reason)
                return
            message = failure.reason["message"]
            claims.finish(
                session,
                self._job_id,
                self._claim_number,
                "failed",
                message=message,
                why=failure.reason,
            )

        self._writer.write_now(end)
        return ENDED if failure.is_final else LOST
