"""Estimates for requests, of what workers measured; read again every few seconds."""

import time
from typing import Any

from npas.jobs.workload import Workload
from npas_store.database import reading
from npas_store.estimates import Knowledge

from npas_api import schemas

FRESH_SECONDS = 5.0
"""Measurements that are older are read again."""


class Estimator:
    """What this process knows of the workers' machines; may be called from any thread."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: tuple[float, Knowledge] | None = None

    def estimate(self, work: Workload) -> dict[str, Any]:
        """Return what a job is thought to take, as JSON; see `npas_store.estimates`."""
        known = self._known
        if known is None or time.monotonic() - known[0] > FRESH_SECONDS:
            with reading() as session:
                known = (time.monotonic(), Knowledge.read(session))
            self._known = known
        return known[1].estimate(work)

    def told(self, work: Workload) -> str:
        """Return the estimate of a job, as the JSON of an answer."""
        return schemas.Estimate.model_validate(self.estimate(work)).model_dump_json()
