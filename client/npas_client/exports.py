"""Exports from Python: the part of `Client` that has networks written for other programs."""

import time
from abc import ABC, abstractmethod
from typing import Any

import httpx

from npas_client.answers import Answer
from npas_client.errors import ExportFailedError

_LOOK_SECONDS = 0.5


class Export(Answer):
    """A file that is made of a job's network.

    Attributes:
        state: queued, running, succeeded or failed.
        artifact: its name for `Client.download`, once it succeeded.
        facts: keeps_sharing, whether what was shared is in the file once; once it succeeded also
            file_bytes, unique_bytes, max_difference.
        reason: why it failed.
    """

    id: str
    state: str
    spec: dict[str, Any]
    artifact: str | None = None
    facts: dict[str, Any] | None = None
    reason: dict[str, Any] | None = None


class ExportCalls(ABC):
    """What `Client` can do about exports."""

    @abstractmethod
    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, again and again while that may help; see `Client`."""

    def export(
        self, job_id: str, to: str = "onnx", *, timeout: float | None = None, **options: Any
    ) -> Export:
        """Have a job's network written in another format, and wait until it is.

        The same export asked for again is not made again.

        Args:
            job_id: of a job that delivered a network.
            to: the format: onnx, torch.export or safetensors.
            timeout: seconds to wait; None: until it ends.
            **options: of `npas.export`: network, guard, norms, dynamic_batch, opset.

        Returns:
            The export; `download(job_id, found.artifact, path)` fetches the file.

        Raises:
            ConflictError: the job delivered no network.
            ExportFailedError: it cannot be made.
            TimeoutError: it takes longer; it goes on being made.
        """
        path = f"/v1/jobs/{job_id}/exports"
        found = Export.model_validate(self._send("POST", path, json={"to": to, **options}).json())
        deadline = None if timeout is None else time.monotonic() + timeout
        while found.state not in ("succeeded", "failed"):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{found.id} is {found.state} after {timeout} s")
            time.sleep(_LOOK_SECONDS)
            found = Export.model_validate(self._send("GET", f"{path}/{found.id}").json())
        if found.state == "failed":
            raise ExportFailedError.of(found.reason or {})
        return found

    def exports(self, job_id: str) -> list[Export]:
        """Return all exports that were asked for of a job."""
        answer = self._send("GET", f"/v1/jobs/{job_id}/exports").json()
        return [Export.model_validate(row) for row in answer["data"]]
