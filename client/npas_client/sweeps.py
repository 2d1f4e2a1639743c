"""Sweeps from Python: the part of `Client` that makes them, follows them and asks what they found.

with Client("http://127.0.0.1:8000") as service:
    sweep = service.sweep({"architectures": ["wrn-16-2"], "budgets": [{"fraction": 0.25}],
                           "methods": ["block_mix", "narrow"], "dataset": "digits"})
    for sweep in service.watch_sweep(sweep.id):
        print(sweep.state, sweep.progress)
    for smallest in service.smallest_within(sweep.id, 1.0):
        print(smallest.message, smallest.job_id)
"""

import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
from npas.spec.sweep import SweepSpec
from pydantic import Field

from npas_client.answers import Answer, Deletion, Found

PLANNING_SECONDS = 600.0
"""For an answer to a sweep, all of whose jobs are planned first."""
POLL_SECONDS = 2.0

log = logging.getLogger(__name__)


class Sweep(Answer):
    """A sweep as it was when asked.

    Attributes:
        counts: jobs by state.
        num_jobs: that were made.
        left_out: points that no job was made for, and why.
        spec: what was asked for; plain JSON where a newer service knows more than this client.
    """

    id: str
    state: str
    is_terminal: bool
    progress: float
    eta_seconds: float | None = None
    counts: dict[str, int]
    num_jobs: int
    left_out: list[dict[str, Any]] = Field(default_factory=list)
    spec: SweepSpec | dict[str, Any] | None = Field(None, union_mode="left_to_right")


class MeanAccuracy(Answer):
    """Over seeds; `low` and `high` are of the 95 % interval, None where there is one seed."""

    mean: float
    low: float | None
    high: float | None
    count: int


class FrontierPoint(Answer):
    """A network by one method at one budget, over its seeds."""

    architecture: str
    method: str
    budget_parameters: int
    parameters: int
    is_baseline: bool
    is_on_frontier: bool
    accuracy: MeanAccuracy | None
    seeds: list[dict[str, Any]]


class Smallest(Answer):
    """The smallest network that is nearly as good as a dense one; `point` None: there is none.

    Attributes:
        baseline: place of the dense one in `Frontier.points`.
        point: place of the smallest one.
        job_id: the job of its most accurate seed, to download.
        message: the answer in words.
    """

    baseline: int | None
    point: int | None
    job_id: str | None
    parameters: int | None
    accuracy: float | None
    message: str


class Frontier(Answer):
    """Accuracy against parameters, of what is trained by now."""

    is_complete: bool
    missing: dict[str, int]
    points: list[FrontierPoint]
    smallest: list[Smallest]


class SweepCalls(ABC):
    """What a `Client` can do about sweeps."""

    patience: float

    @abstractmethod
    def _send(self, method: str, path: str, **options: Any) -> httpx.Response: ...

    @abstractmethod
    def _patiently(self, ask: Callable[[], Found]) -> Found: ...

    @abstractmethod
    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]: ...

    def sweep(
        self,
        spec: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        timeout: float = PLANNING_SECONDS,
    ) -> Sweep:
        """Make all jobs of a sweep, or none, and return when all are planned and queued.

        Args:
            spec: see POST /v1/sweeps.
            idempotency_key: the same key gives the same sweep; as in `submit`.
            timeout: seconds to wait for the plans.

        Raises:
            InfeasiblePointsError: budgets are below their minimum; `points` names them.
            InvalidRequestError: something else in the spec is wrong.
        """
        key = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        answer = self._send("POST", "/v1/sweeps", json=dict(spec), headers=key, timeout=timeout)
        return Sweep.model_validate(answer.json())

    def sweeps(self, **filters: Any) -> Iterator[Sweep]:
        """Yield all sweeps that match, newest first; filters as of GET /v1/sweeps."""
        yield from (Sweep.model_validate(row) for row in self._pages("/v1/sweeps", filters))

    def sweep_status(self, sweep_id: str) -> Sweep:
        """Return the sweep as it is now."""
        return Sweep.model_validate(self._send("GET", f"/v1/sweeps/{sweep_id}").json())

    def cancel_sweep(self, sweep_id: str) -> Sweep:
        """Ask all jobs of a sweep to end; those that wait end at once."""
        return Sweep.model_validate(self._send("POST", f"/v1/sweeps/{sweep_id}/cancel").json())

    def delete_sweep(self, sweep_id: str) -> Deletion:
        """Delete a sweep that has ended, and all its jobs with their files.

        Raises:
            ConflictError: some of its jobs have not ended.
            NotFoundError: there is no such sweep, or no longer: a try before may have arrived.
        """
        answer = self._send("DELETE", f"/v1/sweeps/{sweep_id}")
        return Deletion.model_validate(answer.json())

    def watch_sweep(self, sweep_id: str) -> Iterator[Sweep]:
        """Yield the sweep whenever it has changed, at last as it ended.

        Raises:
            UnreachableError: the service was away for longer than `patience`.
        """
        seen = None
        while seen is None or not seen.is_terminal:
            found = self._patiently(lambda: self.sweep_status(sweep_id))
            if found != seen:
                seen = found
                yield found
            if not found.is_terminal:
                time.sleep(POLL_SECONDS)

    def frontier(
        self, sweep_id: str, *, within: float | None = None, across: bool = False
    ) -> Frontier:
        """Return accuracy against parameters, as far as the sweep has got.

        Args:
            within: look for the smallest network within so many points of the dense one, too.
            across: compare all networks with the best dense one, not each with its own.
        """
        asked = {"across": str(across).lower()} | ({} if within is None else {"within": within})
        answer = self._send("GET", f"/v1/sweeps/{sweep_id}/frontier", params=asked)
        return Frontier.model_validate(answer.json())

    def smallest_within(
        self, sweep_id: str, points: float, *, across: bool = False
    ) -> list[Smallest]:
        """Return, for each network, the smallest that is within so many points of the dense one.

        Args:
            points: of accuracy, 1.0 is one in a hundred images.
            across: return one answer, for all networks beside the best dense one.
        """
        return self.frontier(sweep_id, within=points, across=across).smallest

    def results_csv(self, sweep_id: str) -> str:
        """Return a table of all jobs of a sweep: a header and a row for each."""
        headers = {"Accept": "text/csv"}
        return self._send("GET", f"/v1/sweeps/{sweep_id}/results.csv", headers=headers).text
