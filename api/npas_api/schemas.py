"""The shapes of answers. Fields are only ever added: clients must not mind new ones."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self

from npas.delivery.report import Report
from npas.spec import JobSpec
from npas_store import causes, queue_places, tables
from npas_store.states import is_terminal
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import Row

from npas_api.openapi import described_by


class Shape(BaseModel):
    """Root of all answers; filled from a row's attributes of the same names."""

    model_config = ConfigDict(from_attributes=True)


class Transition(Shape):
    """One change of state."""

    from_state: str | None
    to_state: str
    at: datetime
    attempt: int
    reason: Annotated[dict[str, Any] | None, BeforeValidator(causes.shown)]


class QueuePlace(Shape):
    """Where a queued job stands, and what it waits for."""

    position: int = Field(description="jobs that are due and come before it; 0: it is the next")
    code: str = Field(description="pause, worker_absent, worker_unfit, disk_full, ...")
    waiting_for: str = Field(description="the same in words")


class EstimateBasis(Shape):
    """What an estimate of seconds was learned from."""

    machine: str = Field(description="the slowest of those that workers are on")
    basis: str = Field(
        description="the nearest trainings that were measured there: kind (same networks, method "
        "and precision), family (similar networks), machine (any); or probe, the worker's own"
    )
    measurements: int


class Estimate(Shape):
    """What a job is thought to take, from the moment a worker takes it, if it is not lost."""

    seconds: float | None = Field(description="null where no worker has measured anything")
    seconds_low: float | None
    seconds_high: float | None
    interval: float = Field(description="chance that the seconds lie between low and high")
    memory_bytes: int = Field(description="at the peak; the least, where nothing was measured")
    file_bytes: int = Field(description="of model.safetensors, for the first plan")
    resume_bytes: int = Field(description="of the largest resume file")
    disk_bytes: int = Field(description="room that a worker's disk must have")
    steps: int = Field(description="of the optimiser, all stages")
    macs: int = Field(description="multiply-adds, all stages; a backward pass counts as two")
    based_on: EstimateBasis | None
    reason: str | None = Field(description="why seconds are not known")


class Offer(Shape):
    """A size of a network that a search may choose, at the budget of the request."""

    network: str = Field(description="in words")
    architecture: dict[str, Any] = Field(description="as a request has it")
    parameters: int = Field(description="of the plan by the method that was asked for")
    dense_parameters: int = Field(description="of this size without sharing")
    macs: int = Field(description="multiply-adds for one example")
    activation_bytes: int = Field(
        description="most bytes of activations at once for one example, in float32"
    )


class JobUrls(Shape):
    """Where the parts of a job are, relative to the server."""

    model_config = ConfigDict(populate_by_name=True)

    self: str
    cancel: str
    clone: str
    retry: str
    continue_: str = Field(alias="continue")
    events: str
    metrics: str
    plan: str
    artifacts: str
    log: str
    ensemble: str


def _in_short(report: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a report without its longest parts, which have addresses of their own."""
    left_out = ("ensemble", "allocation")
    return report and {name: value for name, value in report.items() if name not in left_out}


class Job(Shape):
    """A job, whole. A state or phase that a client does not know means: keep polling."""

    id: str
    state: str = Field(description="queued, running, cancelling, succeeded, failed, cancelled")
    is_terminal: bool = Field(description="it has ended: only its labels and priority can change")
    phase: str | None = Field(description="preparing, searching, training, evaluating, ...")
    progress: float = Field(description="of the whole job, 0..1")
    eta_seconds: float | None
    spec: Annotated[dict[str, Any], described_by(JobSpec)]
    labels: dict[str, str]
    parent_id: str | None = Field(description="job that this one was made of, while it is there")
    relation: str | None = Field(description="to that job: clone, retry or continue")
    priority: int = Field(description="-100..100; jobs of a higher one are taken first")
    revision: int = Field(
        description="changes of labels or priority so far; in quotes it is the job's ETag"
    )
    queue: QueuePlace | None = Field(
        None, description="of one queued job that is asked for; null in lists"
    )
    architecture: str = Field(description="names, joined by plus signs")
    method: str
    dataset: str
    accuracy: float | None = Field(description="on the test images, 0..1; F1 for cells")
    budget_parameters: int
    minimum_parameters: int
    dense_parameters: int
    parameters: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    sweep_id: str | None = Field(description="of the sweep that it belongs to")
    reason: Annotated[dict[str, Any] | None, BeforeValidator(causes.shown)] = Field(
        description="why it ended or waits: code, message, hint, field, retryable"
    )
    adjustments: dict[str, Any] = Field(
        description="what losses made it do otherwise: micro_batches, learning_rate_factor"
    )
    result: Annotated[
        Annotated[dict[str, Any], described_by(Report)] | None, BeforeValidator(_in_short)
    ] = Field(
        description="the report, once there is a network, without what report.json and "
        "/ensemble say of several networks together, and /plan?explain=true of single layers"
    )
    estimate: Estimate | None = Field(
        description="made when the job was accepted; null in jobs of earlier releases"
    )
    transitions: list[Transition]
    urls: JobUrls

    @classmethod
    def of(
        cls,
        row: tables.Job | Row[Any],
        history: Iterable[tables.Transition | dict[str, Any]],
        *,
        queue: queue_places.QueuePlace | None = None,
    ) -> Self:
        """Return the shape of a row and its history; `queue` is where it waits."""
        fields = {name: getattr(row, name, None) for name in cls.model_fields}
        made = {
            "is_terminal": is_terminal(row.state),
            "queue": queue,
            "transitions": [Transition.model_validate(step) for step in history],
            "urls": job_urls(row.id),
        }
        return cls.model_validate({**fields, **made})


class Result(Shape):
    """What a job delivered, in one line."""

    job_id: str
    architecture: str
    dataset: str
    method: str
    accuracy: float = Field(description="on the test images, 0..1; F1 for cells")
    parameters: int
    budget_parameters: int
    dense_parameters: int
    state: str
    labels: dict[str, str]
    finished_at: datetime | None
    urls: JobUrls

    @classmethod
    def of(cls, row: tables.Job | Row[Any]) -> Self:
        """Return the shape of a row that has a result."""
        fields = {name: getattr(row, name, None) for name in cls.model_fields}
        return cls.model_validate({**fields, "job_id": row.id, "urls": job_urls(row.id)})


class Event(Shape):
    """Something worth telling; `seq` counts from 1 inside a job."""

    seq: int
    at: datetime
    level: str
    type: str
    message: str
    data: dict[str, Any]


class Artifact(Shape):
    """A file that a job delivered."""

    name: str
    kind: str
    media_type: str
    bytes: int
    sha256: str
    created_at: datetime
    state: str = Field(description="stored; or missing, damaged: it can no longer be had")
    url: str

    @classmethod
    def of(cls, row: tables.Artifact, state: str) -> Self:
        """Return the shape of a row, and of the state of its bytes."""
        fields = {name: getattr(row, name, None) for name in cls.model_fields}
        url = f"/v1/jobs/{row.job_id}/artifacts/{row.name}"
        return cls.model_validate({**fields, "state": state, "url": url})


class Freed(Shape):
    """What is no longer on the server's disk."""

    files: int
    bytes: int


class Deletion(Shape):
    """A job that is no more."""

    id: str
    freed: Freed = Field(description="files that other jobs delivered, too, are still there")


class JobPage(Shape):
    """A page of jobs."""

    data: list[Job]
    has_more: bool
    next: str | None = Field(description="`after` of the next page")


class ResultPage(Shape):
    """A page of results."""

    data: list[Result]
    has_more: bool
    next: str | None = Field(description="`after` of the next page")


class EventPage(Shape):
    """A page of events."""

    data: list[Event]
    has_more: bool
    next: int | None = Field(description="`after` of the next page")


class ArtifactList(Shape):
    """All artifacts of a job."""

    data: list[Artifact]


class Metrics(Shape):
    """The learning curve of a job, one row an epoch, thinned out to `max_points` rows."""

    names: list[str]
    total: int = Field(description="rows there are")
    data: list[dict[str, Any]]


class Catalogue(Shape):
    """What a request can name."""

    data: list[dict[str, Any]]


def job_urls(job_id: str) -> JobUrls:
    """Return where the parts of a job are."""
    own = f"/v1/jobs/{job_id}"
    verbs = ("cancel", "clone", "retry", "continue")
    parts = (*verbs, "events", "metrics", "plan", "log", "artifacts", "ensemble")
    return JobUrls.model_validate({"self": own, **{part: f"{own}/{part}" for part in parts}})
