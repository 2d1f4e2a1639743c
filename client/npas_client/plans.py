"""Plans of jobs from Python: the part of `Client` that tells who shares what."""

from abc import ABC, abstractmethod
from typing import Any

import httpx
from npas.delivery.allocation_report import AllocationReport
from npas.delivery.ensemble_report import EnsembleReport
from npas.plans import Plan


class PlanCalls(ABC):
    """What `Client` can tell of a job's plan and of its networks together."""

    @abstractmethod
    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, again and again while that may help; see `Client`."""

    def plan(self, job_id: str, *, version: int | None = None) -> Plan:
        """Return a plan of the job: which layers share what.

        Args:
            version: 0 is that of the request, a search and a refinement make new ones; None: the
                latest. Give two to `npas.compare` to see what moved.

        Raises:
            NotFoundError: the job has no such version (yet).
        """
        wanted = {} if version is None else {"version": version}
        return Plan.from_json(self._send("GET", f"/v1/jobs/{job_id}/plan", params=wanted).text)

    def allocation(self, job_id: str, *, version: int | None = None) -> AllocationReport:
        """Return who shares with whom; of a job that succeeded, what sharing costs, too.

        Args:
            version: as for `plan`; only the latest is measured.

        Raises:
            NotFoundError: the job has no such version (yet).
        """
        wanted = {"explain": True} | ({} if version is None else {"version": version})
        answer = self._send("GET", f"/v1/jobs/{job_id}/plan", params=wanted).json()
        return AllocationReport.model_validate(answer["allocation"])

    def ensemble(self, job_id: str) -> EnsembleReport:
        """Return what the networks of a job are worth together: every subset, early answers.

        Raises:
            NotFoundError: the job is of one network, or has delivered nothing (yet).
        """
        answer = self._send("GET", f"/v1/jobs/{job_id}/ensemble").json()
        return EnsembleReport.model_validate(answer)
