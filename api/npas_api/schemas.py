"""The shapes of answers. Fields are only ever added: clients must not mind new ones."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self

from npas.delivery.report import Report
from npas.spec import JobSpec
from npas_store import tables
from npas_store.states import is_terminal
from pydantic import BaseModel, ConfigDict, Field

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
    reason: dict[str, Any] | None


class JobUrls(Shape):
    """Where the parts of a job are, relative to the server."""

    self: str
    cancel: str
    events: str
    metrics: str
    plan: str
    artifacts: str


class Job(Shape):
    """A job, whole. A state or phase that a client does not know means: keep polling."""

    id: str
    state: str = Field(description="queued, running, cancelling, succeeded, failed, cancelled")
    is_terminal: bool = Field(description="this job will never change again")
    phase: str | None = Field(description="preparing, searching, training, evaluating, ...")
    progress: float = Field(description="of the whole job, 0..1")
    eta_seconds: float | None
    spec: Annotated[dict[str, Any], described_by(JobSpec)]
    labels: dict[str, str]
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
    reason: dict[str, Any] | None = Field(description="why it ended: code, message, hint")
    result: Annotated[dict[str, Any], described_by(Report)] | None = Field(
        description="the report, once there is a network"
    )
    transitions: list[Transition]
    urls: JobUrls

    @classmethod
    def of(cls, row: tables.Job, history: Iterable[tables.Transition]) -> Self:
        """Return the shape of a row and its history."""
        fields = {name: getattr(row, name, None) for name in cls.model_fields}
        made = {
            "is_terminal": is_terminal(row.state),
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
    def of(cls, row: tables.Job) -> Self:
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
    parts = ("cancel", "events", "metrics", "plan", "artifacts")
    return JobUrls(self=own, **{part: f"{own}/{part}" for part in parts})
