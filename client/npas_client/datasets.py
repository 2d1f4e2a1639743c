"""Images of one's own from Python: the part of `Client` that sends datasets and looks after them.

with Client("http://127.0.0.1:8000") as service:
    dataset = service.upload_dataset("flowers.zip", name="flowers")
    service.submit({"architecture": "wrn-16-2", "budget": {"fraction": 0.25},
                    "dataset": dataset.dataset})
"""

import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field

from npas_client import download, errors
from npas_client.answers import Answer, Found

PART_BYTES = 8 * 1024 * 1024
"""Bytes of one request; what a connection that breaks costs at most."""
PAUSE_SECONDS = 0.5
POLL_SECONDS = 1.0
_AWAY = (errors.UnreachableError, errors.UnavailableError)
_RESUMABLE = ("upload_offset", "upload_busy", "upload_length", "upload_stalled")
"""Codes of refusals after which the rest can be sent."""

Progress = Callable[[int, int], None]
"""Told of bytes that arrived, and of all bytes."""

log = logging.getLogger(__name__)


class Dataset(Answer):
    """A dataset as it was when asked.

    Attributes:
        dataset: what a job says to use it; None: it is weights.
        checkpoint: of weights, once ready: what a job says as start.checkpoint.
        state: uploading, processing, ready or invalid; treat one you do not know as not ended.
        received_bytes: of `upload_bytes`, how many have arrived.
        facts: number of classes, size and number of images, once it is ready.
        report: what was found in it, once it is ready.
        reason: why it is invalid, or waits: code, message, hint.
    """

    id: str
    name: str
    dataset: str | None
    state: str
    format: str
    upload_bytes: int
    received_bytes: int
    upload_sha256: str | None = None
    checkpoint: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    reason: dict[str, Any] | None = None

    @property
    def is_terminal(self) -> bool:
        """Say whether it will never change again."""
        return self.state in ("ready", "invalid")


class DatasetCalls(ABC):
    """What `Client` knows of datasets that users send."""

    patience: float

    @abstractmethod
    def _send(self, method: str, path: str, **options: Any) -> httpx.Response: ...

    @abstractmethod
    def _patiently(self, ask: Callable[[], Found]) -> Found: ...

    def upload_dataset(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Dataset:
        """Send a file of images, have it checked, and return the dataset, ready or invalid.

        What was sent of the same file under the same name before, also by another process, is not
        sent again: it goes on where that broke off.

        Args:
            path: an .npz file, a zip of images, or Parquet.
            name: yours; left out: that of the file. Datasets may share one, as versions do.
            format: "npz", "images" or "parquet"; left out: by the file's ending.
            options: image_size, fit, channels, ...; see POST /v1/datasets.
            labels: yours.
            progress: told of bytes as they arrive.

        Raises:
            InvalidRequestError: the service takes no such dataset.
            UploadError: no byte more was taken for as long as the client's `patience`.
        """
        file = Path(path)
        asked = _asked(file, name, format or _format(file), options, labels)
        return self._uploaded(asked, file, progress)

    def upload_weights(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Dataset:
        """Send weights of a trained network, have them checked, and return what became of them.

        A job starts from them by `{"start": {"checkpoint": weights.checkpoint}}`. It goes on as
        `upload_dataset` does.

        Args:
            path: a safetensors file of a module's state dict, or one that npas wrote.
            name: yours; left out: that of the file.
            labels: yours.
            progress: told of bytes as they arrive.

        Raises:
            InvalidRequestError: the service takes no such file.
            UploadError: no byte more was taken for as long as the client's `patience`.
        """
        file = Path(path)
        return self._uploaded(_asked(file, name, "weights", None, labels), file, progress)

    def _uploaded(
        self, asked: Mapping[str, Any], file: Path, progress: Progress | None
    ) -> Dataset:
        dataset = self._unfinished(asked) or self._announced(asked)
        self._send_bytes(dataset, file, progress or (lambda _arrived, _all: None))
        while not (found := self._patiently(lambda: self.dataset(dataset.id))).is_terminal:
            time.sleep(POLL_SECONDS)
        return found

    def dataset(self, dataset_id: str) -> Dataset:
        """Return a dataset as it is now."""
        return Dataset.model_validate(self._send("GET", f"/v1/datasets/{dataset_id}").json())

    def datasets(self, **filters: Any) -> Iterator[Dataset]:
        """Yield the datasets that users sent, newest first, page by page.

        Args:
            filters: as the query parameters of GET /v1/datasets: format, name, state,
                "label[KEY]", limit. Weights are there with format="weights", and not without.
        """
        query: dict[str, Any] = {"limit": 100, **filters}
        answer = self._send("GET", "/v1/datasets", params=query)
        while True:
            yield from (Dataset.model_validate(row) for row in answer.json()["uploaded"])
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            answer = self._send("GET", following)

    def delete_dataset(self, dataset_id: str) -> int:
        """Delete a dataset, and return how many bytes that freed on the server.

        Raises:
            ConflictError: jobs that have not ended read it.
            NotFoundError: there is none.
        """
        answer = self._send("DELETE", f"/v1/datasets/{dataset_id}").json()
        return int(answer["freed_bytes"])

    def _unfinished(self, asked: Mapping[str, Any]) -> Dataset | None:
        """Return an upload of the same file in the same way that broke off."""
        same = {"upload_bytes": "bytes", "upload_sha256": "sha256", "format": "format"}
        same |= {"options": "options", "labels": "labels"}
        for found in self.datasets(name=asked["name"], state="uploading", format=asked["format"]):
            if all(getattr(found, theirs) == asked[ours] for theirs, ours in same.items()):
                return found
        return None

    def _announced(self, asked: Mapping[str, Any]) -> Dataset:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        answer = self._send("POST", "/v1/datasets", json=dict(asked), headers=key)
        return Dataset.model_validate(answer.json())

    def _send_bytes(self, dataset: Dataset, file: Path, progress: Progress) -> None:
        """Send what is missing, in parts; put up with a service that is away for a while."""
        total, arrived, since = dataset.upload_bytes, dataset.received_bytes, time.monotonic()
        with file.open("rb") as content:
            while arrived < total:
                progress(arrived, total)
                content.seek(arrived)
                before, arrived = arrived, self._sent(dataset, content.read(PART_BYTES), arrived)
                if arrived > before:
                    since = time.monotonic()
                    continue
                if time.monotonic() - since > self.patience:
                    told = f"{file.name}: the service stays at byte {arrived} of {total}"
                    raise errors.UploadError(told)
                time.sleep(PAUSE_SECONDS)
        progress(total, total)

    def _sent(self, dataset: Dataset, part: bytes, start: int) -> int:
        """Send a part, and return how many bytes are there then."""
        last, total = start + len(part) - 1, dataset.upload_bytes
        headers = {"Content-Range": f"bytes {start}-{last}/{total}"}
        url = f"/v1/datasets/{dataset.id}/content"
        try:
            answer = self._send("PUT", url, content=part, headers=headers)
            return int(answer.headers["Upload-Offset"])
        except _AWAY as error:
            log.info("%s; asking where to go on", error)
            return self._arrived(dataset, start)
        except errors.ServiceError as error:
            arrived = self._arrived(dataset, start)
            is_whole = error.code == "upload_ended" and arrived == total  # an answer was lost
            if error.code not in _RESUMABLE and not is_whole:
                raise
            log.info("%s; going on at byte %d", error, arrived)
            return arrived

    def _arrived(self, dataset: Dataset, start: int) -> int:
        try:
            return self.dataset(dataset.id).received_bytes
        except _AWAY:
            return start


def _asked(
    file: Path,
    name: str | None,
    format: str,
    options: Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return the request that announces a file."""
    return {
        "name": name or file.stem,
        "format": format,
        "bytes": file.stat().st_size,
        "sha256": download.sha256_of(file),
        "options": dict(options or {}),
        "labels": dict(labels or {}),
    }


def _format(file: Path) -> str:
    return {".npz": "npz", ".parquet": "parquet"}.get(file.suffix.lower(), "images")
