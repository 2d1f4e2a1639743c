"""The service from Python: submit a job, follow it, fetch what it made.

from npas_client.client import Client

with Client("http://127.0.0.1:8000") as service:
    job = service.submit({"architecture": "wrn-16-2", "budget": {"fraction": 0.25},
                          "dataset": "digits"})
    job = service.wait(job.id)
    service.download(job.id, "model.safetensors", "model.safetensors")
"""

import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from npas.plans import Plan

from npas_client import download, errors, stream
from npas_client.answers import Artifact, Deletion, Estimate, Event, Found, Job, Offer
from npas_client.datasets import DatasetCalls
from npas_client.descendants import DescendantCalls
from npas_client.exports import ExportCalls
from npas_client.plans import PlanCalls
from npas_client.sweeps import SweepCalls

DEFAULT_URL = "http://127.0.0.1:8000"
TRIES = 6
RETRY_SECONDS = 0.25
"""First pause between tries; it doubles."""
MAX_PAUSE_SECONDS = 10.0
RECONNECT_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
_TEMPORARY = {429, 502, 503, 504}
_AWAY = (errors.UnreachableError, errors.UnavailableError)

log = logging.getLogger(__name__)


class Client(SweepCalls, DescendantCalls, DatasetCalls, ExportCalls, PlanCalls):
    """A connection to one service.

    Requests that may be sent twice without harm are: reads, and submissions, which carry an
    idempotency key. Those are tried again while the service cannot be reached or is overloaded.

    Args:
        url: of the service; else the environment's NPAS_URL, else http://127.0.0.1:8000.
        timeout: seconds to wait for an answer to one try.
        patience: seconds for which `wait`, `watch` and uploads put up with a service that cannot
            be reached, as while it is started again; they say so in the log.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float = 30.0,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.url = (url or os.environ.get("NPAS_URL") or DEFAULT_URL).rstrip("/")
        self.patience = patience
        self._http = httpx.Client(base_url=self.url, timeout=timeout, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Say whether the service can take and run jobs now."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def preview(self, request: Mapping[str, Any]) -> Plan:
        """Return the plan that a job would get, without making the job.

        Args:
            request: architecture or networks, budget, method; see POST /v1/plans.

        Raises:
            InfeasibleBudgetError: the method cannot go that low.
            InvalidRequestError: something else in the request is wrong.
        """
        return Plan.from_json(self._send("POST", "/v1/plans", json=dict(request)).text)

    def estimate(self, spec: Mapping[str, Any]) -> Estimate:
        """Return what a job would take, without making it.

        Args:
            spec: see POST /v1/jobs.

        Raises:
            InfeasibleBudgetError: the method cannot go that low.
            InvalidRequestError: something else in the spec is wrong.
        """
        query = {"estimate": "true"}
        answer = self._send("POST", "/v1/plans", json=dict(spec), params=query)
        return Estimate.model_validate(answer.json()["estimate"])

    def offered(self, request: Mapping[str, Any]) -> list[Offer]:
        """Return the sizes of a network that a job may choose, first the one asked for.

        Args:
            request: with "search": {"scale": true}; see POST /v1/plans.

        Raises:
            InfeasibleBudgetError: the budget holds no size.
            InvalidRequestError: something else in the request is wrong.
        """
        query = {"offered": "true"}
        answer = self._send("POST", "/v1/plans", json=dict(request), params=query)
        return [Offer.model_validate(each) for each in answer.json()["offered"]]

    def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Make a job and return at once.

        Args:
            spec: see POST /v1/jobs.
            idempotency_key: the same key gives the same job, however often it is sent; left out,
                each call makes a job, and only this call's own retries share a key.

        Raises:
            InfeasibleBudgetError: the method cannot go that low.
            InvalidRequestError: something else in the spec is wrong.
        """
        return self._make("/v1/jobs", spec, idempotency_key)

    def get(self, job_id: str) -> Job:
        """Return the job as it is now."""
        return Job.model_validate(self._send("GET", f"/v1/jobs/{job_id}").json())

    def update(
        self,
        job_id: str,
        *,
        labels: Mapping[str, str | None] | None = None,
        priority: int | None = None,
        revision: int | None = None,
    ) -> Job:
        """Change labels or priority of a job, and return it.

        Args:
            labels: to set; None in place of a value takes one away. All others stay.
            priority: -100 to 100; None: as it is.
            revision: of the job as you saw it: the change is refused if it is another by now.

        Raises:
            ConflictError: the job is of another revision.
            InvalidRequestError: a label or priority that cannot be one.
        """
        wanted = {"labels": labels, "priority": priority}
        patch = {name: value for name, value in wanted.items() if value is not None}
        headers = {"Content-Type": "application/merge-patch+json"}
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        answer = self._send("PATCH", f"/v1/jobs/{job_id}", json=patch, headers=headers)
        return Job.model_validate(answer.json())

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop and deliver the best it has; of an ended job, nothing changes."""
        return Job.model_validate(self._send("POST", f"/v1/jobs/{job_id}/cancel").json())

    def delete(self, job_id: str) -> Deletion:
        """Delete a job that has ended, with all its files, and return what that freed.

        Raises:
            ConflictError: it has not ended; cancel it first.
            NotFoundError: there is no such job, or no longer: a try before may have arrived.
        """
        return Deletion.model_validate(self._send("DELETE", f"/v1/jobs/{job_id}").json())

    def jobs(self, **filters: Any) -> Iterator[Job]:
        """Yield all jobs that match, newest first, page by page.

        Args:
            filters: as the query parameters of GET /v1/jobs.
        """
        yield from (Job.model_validate(row) for row in self._pages("/v1/jobs", filters))

    def wait(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Return the job when it has ended, however it ended.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            TimeoutError: the job had not ended by then; it goes on.
            UnreachableError: the service was away for longer than `patience`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = RECONNECT_SECONDS

        def ask() -> Job:
            return self._patiently(
                lambda: self.get(job_id), deadline, told=f"{job_id} had not ended"
            )

        while not (job := ask()).is_terminal:
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"{job_id} is {job.state} after {timeout:g} s; it goes on")
            time.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 1.5, MAX_PAUSE_SECONDS)
        return job

    def watch(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield the job's events as they happen, each once, until the job has ended.

        An epoch is an event of type "metrics", whose data are its row of the learning curve.

        A stream that ends says nothing about its job (servers restart, proxies hang up), so the
        job is asked, and the stream resumed after the last event seen.

        Args:
            after: skip the events up to this `seq`.

        Raises:
            UnreachableError: the service was away for longer than `patience`.
        """
        while True:
            with contextlib.suppress(httpx.TransportError, errors.UnavailableError):
                for event in self._stream(job_id, after):
                    after = event.seq
                    yield event
            if self._patiently(lambda: self.get(job_id)).is_terminal:
                with contextlib.suppress(*_AWAY):
                    rest = self.events(job_id, after=after)
                    yield from rest
                    return
            time.sleep(RECONNECT_SECONDS)

    def events(self, job_id: str, *, after: int = 0) -> list[Event]:
        """Return the events so far, those after a `seq` only."""
        rows = self._pages(f"/v1/jobs/{job_id}/events", {"after": after})
        return [Event.model_validate(row) for row in rows]

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """Return the learning curve so far: one row per stage and epoch."""
        return list(self._send("GET", f"/v1/jobs/{job_id}/metrics").json()["data"])

    def log(self, job_id: str, *, tail: int | None = None) -> str:
        """Return what the trainings of a job said so far, claim by claim.

        Args:
            tail: only so many of the last lines.
        """
        wanted = {} if tail is None else {"tail": tail}
        headers = {"Accept": "text/plain"}
        return self._send("GET", f"/v1/jobs/{job_id}/log", params=wanted, headers=headers).text

    def artifacts(self, job_id: str) -> list[Artifact]:
        """Return the files that the job has made so far."""
        answer = self._send("GET", f"/v1/jobs/{job_id}/artifacts").json()
        return [Artifact.model_validate(row) for row in answer["data"]]

    def download(self, job_id: str, name: str, path: str | Path) -> Path:
        """Fetch a file that a job made; an interrupted download goes on where it stopped.

        Args:
            name: as in artifacts(), such as "model.safetensors".
            path: the file to write; left alone if it holds these bytes already.

        Raises:
            NotFoundError: the job has no such artifact (yet).
            DownloadError: the bytes are not those that the job made.
        """
        found = {artifact.name: artifact for artifact in self.artifacts(job_id)}
        if name not in found:
            raise errors.NotFoundError(
                f"{job_id} has no artifact {name!r}; it has {', '.join(sorted(found)) or 'none'}",
                status=404,
            )
        url = f"/v1/jobs/{job_id}/artifacts/{name}"
        return download.fetch(
            self._http, url, Path(path), sha256=found[name].sha256, num_bytes=found[name].bytes
        )

    def _patiently(
        self,
        ask: Callable[[], Found],
        deadline: float | None = None,
        told: str = "there was no answer",
    ) -> Found:
        """Return an answer as soon as the service gives one: it may be started again just now.

        Args:
            ask: asks for it.
            deadline: of the monotonic clock; None: there is only the patience.
            told: what is said when it is over.
        """
        since = time.monotonic()
        while True:
            try:
                return ask()
            except _AWAY as error:
                now = time.monotonic()
                if deadline is not None and now > deadline:
                    raise TimeoutError(f"{told} by then: {error}") from error
                left = self.patience - (now - since)
                if left <= 0:
                    raise
                log.warning("%s; waiting %.0f s more for it to come back", error, left)
                time.sleep(RECONNECT_SECONDS)

    def _stream(self, job_id: str, after: int) -> Iterator[Event]:
        """Yield events from one connection until it ends; 204 means there will be no more."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        url = f"/v1/jobs/{job_id}/events"
        with self._http.stream("GET", url, headers=headers) as response:
            if response.status_code >= 400:
                response.read()
                raise errors.from_response(response)
            for message in stream.messages(response.iter_lines()):
                if message.id.isdecimal() and int(message.id) > after:
                    yield Event.model_validate(message.data)

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list, following its next link."""
        answer = self._send("GET", path, params=dict(query))
        while True:
            yield from answer.json()["data"]
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            answer = self._send("GET", following)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request that may arrive twice without harm; try again while that may help."""
        pause = RETRY_SECONDS
        for attempt in range(1, TRIES + 1):
            is_last = attempt == TRIES
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                if is_last:
                    raise errors.UnreachableError(
                        f"no answer from {self.url} ({error}); is the service running?"
                    ) from error
            else:
                if response.status_code not in _TEMPORARY or is_last:
                    break
                pause = max(pause, _retry_after(response))
            time.sleep(min(pause, MAX_PAUSE_SECONDS))
            pause *= 2
        if response.is_error:
            raise errors.from_response(response)
        return response


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds that the service asks to wait, 0 if it does not say."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
