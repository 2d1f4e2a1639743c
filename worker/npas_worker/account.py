"""What a claim took, written down when it ends: a measurement, and how wrong its estimate was."""

import logging
from typing import Any

import torch
from npas.jobs import devices
from npas.jobs.workload import Workload
from npas_store import estimates, jobs, lineage, machine, measurements
from npas_store.settings import settings
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from npas_worker.stopwatch import Stopwatch

log = logging.getLogger(__name__)


class Account:
    """Of one claim of one job."""

    def __init__(self, job_id: str, claim_number: int, stopwatch: Stopwatch) -> None:
        """Note whose it is.

        Args:
            stopwatch: of the claim's epochs.
        """
        self._job_id, self._claim_number, self._stopwatch = job_id, claim_number, stopwatch

    def close(
        self, session: Session, *, file_bytes: int | None = None, is_whole: bool = False
    ) -> dict[str, Any] | None:
        """Do as `_close`; what cannot be written of it costs no job its end.

        Args:
            session: of the transaction that ends the claim.
            file_bytes: of the model file; None where none is delivered.
            is_whole: whether all work of the job is done.
        """
        try:
            return self._close(session, file_bytes=file_bytes, is_whole=is_whole)
        except SQLAlchemyError:  # the transaction is over, or Postgres is away
            raise
        except Exception:  # of a device that is broken, or an estimate of another release
            log.exception("what job %s took cannot be written down", self._job_id)
            return None

    def _close(
        self, session: Session, *, file_bytes: int | None, is_whole: bool
    ) -> dict[str, Any] | None:
        """Write the measurement, if there is enough to learn from; return the estimate's error."""
        job = jobs.get(session, self._job_id)
        if job.estimate is None:
            return None
        device = devices.device(settings().device)
        memory = _peak(device)
        held, own = measurements.seconds_held(session, self._job_id, self._claim_number)
        work = Workload.of(job.estimate["work"])
        facts = self._stopwatch.measured(work)
        # What a loss made the training do otherwise, or what another size of the network took, is
        # not how fast its kind is.
        is_its_kind = not job.adjustments and not lineage.is_of_sizes(job)
        if facts["steps"] >= estimates.LEAST_STEPS and is_its_kind:
            is_alone = is_whole and job.claim_number == 1
            facts |= {
                "memory_bytes": memory,
                "whole_seconds": round(own, 3) if is_alone else None,
                "file_bytes": file_bytes,
            }
            threads = job.threads or settings().threads
            name = machine.named(devices.model_name(device), threads)
            measurements.record(session, name, work.kind, facts)
        return estimates.error(
            job.estimate,
            seconds=held if is_whole else None,
            memory_bytes=memory,
            file_bytes=file_bytes,
        )


def _peak(device: torch.device) -> int | None:
    """Return the most memory that this process held where it trained."""
    return machine.peak_memory_bytes() if device.type == "cpu" else devices.peak_bytes(device)
