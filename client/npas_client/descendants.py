"""Jobs made of others from Python: the part of `Client` that clones, retries and continues."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import httpx

from npas_client.answers import Job


class DescendantCalls(ABC):
    """What `Client` can do with a job that there is."""

    @abstractmethod
    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, again and again while that may help; see `Client`."""

    def clone(
        self,
        job_id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """Make a job like this one, but for some changes, and return it.

        Args:
            job_id: of a job in any state; it stays as it is.
            changes: a JSON merge patch of its request: None takes a member away.
            idempotency_key: as for `submit`.

        Raises:
            InvalidRequestError: that makes no request that can be done.
        """
        return self._make(f"/v1/jobs/{job_id}/clone", changes or {}, idempotency_key)

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Make the same job again after it failed or was cut short, and return it.

        It goes on from what that one had saved, as far as it is still kept.

        Raises:
            ConflictError: the job has not ended, or it succeeded.
        """
        return self._make(f"/v1/jobs/{job_id}/retry", None, idempotency_key)

    def continue_(
        self,
        job_id: str,
        *,
        epochs: int | None = None,
        budget: int | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Make a job that trains on the network that this one delivered, and return it.

        Args:
            job_id: of a job that delivered a network; it stays as it is.
            epochs: more of them; None: as many as it had.
            budget: another one, into which the weights are fitted; None: that of the job, whose
                plan is kept then. One of the two must be given.
            idempotency_key: as for `submit`.

        Raises:
            ConflictError: the job delivered no network.
            InfeasibleBudgetError: the method cannot go that low.
            NotFoundError: the network is no longer stored.
        """
        wish = {"epochs": epochs, "budget": budget}
        given = {name: value for name, value in wish.items() if value is not None}
        return self._make(f"/v1/jobs/{job_id}/continue", given, idempotency_key)

    def _make(self, path: str, body: Mapping[str, Any] | None, key: str | None) -> Job:
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        content = None if body is None else dict(body)
        return Job.model_validate(self._send("POST", path, json=content, headers=headers).json())
