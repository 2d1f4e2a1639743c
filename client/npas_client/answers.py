"""What the service returns, as values."""

from typing import Any, TypeVar

from npas.delivery.report import Report
from npas.spec import JobSpec
from pydantic import BaseModel, ConfigDict, Field

Found = TypeVar("Found")


class Answer(BaseModel):
    """Something the service returned. Fields that a newer service adds are kept as attributes."""

    model_config = ConfigDict(extra="allow", frozen=True)


class QueuePlace(Answer):
    """Where a queued job stands.

    Attributes:
        position: jobs that come before it; 0: it is the next.
        code: what it waits for, for programs.
        waiting_for: the same in words.
    """

    position: int
    code: str
    waiting_for: str


class Estimate(Answer):
    """What a job is thought to take, from the moment a worker takes it, if it is not lost.

    Attributes:
        seconds: None where no worker has measured anything; `reason` says so.
        seconds_low: with `seconds_high`, what they lie between in 8 of 10 jobs.
        seconds_high: see there.
        memory_bytes: at the peak.
        file_bytes: of the model file, for the first plan.
        disk_bytes: room that a worker's disk must have.
        reason: why seconds are not known.
    """

    seconds: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None
    memory_bytes: int
    file_bytes: int
    disk_bytes: int
    reason: str | None = None


class Offer(Answer):
    """A size of a network that a search may choose, at the budget of the request.

    Attributes:
        network: in words.
        architecture: as a request has it.
        parameters: of the plan by the method that was asked for.
        dense_parameters: of this size without sharing.
        macs: multiply-adds for one example.
        activation_bytes: most bytes of activations at once for one example, in float32.
    """

    network: str
    architecture: dict[str, Any]
    parameters: int
    dense_parameters: int
    macs: int
    activation_bytes: int


class Job(Answer):
    """A job as it was when asked. Treat a state you do not know as not ended: see is_terminal.

    Attributes:
        spec: what was asked for; plain JSON where a newer service knows more than this client.
        parent_id: of the job that it was made of, while that is there.
        relation: to that job: clone, retry or continue.
        labels: what it is called now, which `Client.update` changes.
        priority: jobs of a higher one are taken first.
        revision: changes of labels or priority so far, for `Client.update`.
        queue: where it waits, if it was asked for alone and does.
        reason: why it ended or waits: code, message, hint, field, retryable (docs/reasons.md).
        result: the report, once there is a network.
        estimate: made when it was accepted; `result.estimate_error` says how wrong it was.
    """

    id: str
    state: str
    is_terminal: bool
    phase: str | None = None
    progress: float | None = None
    eta_seconds: float | None = None
    spec: JobSpec | dict[str, Any] | None = Field(None, union_mode="left_to_right")
    parent_id: str | None = None
    relation: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    priority: int = 0
    revision: int = 0
    queue: QueuePlace | None = None
    reason: dict[str, Any] | None = None
    result: Report | None = None
    estimate: Estimate | None = None


class Event(Answer):
    """One line of a job's history; `seq` counts from 1 within the job."""

    seq: int
    type: str
    message: str = ""
    data: dict[str, Any] | None = None


class Artifact(Answer):
    """A file that a job made."""

    name: str
    bytes: int
    sha256: str


class Deletion(Answer):
    """A job that was deleted; `freed` says how many `files` and `bytes` the disk has for that."""

    id: str
    freed: dict[str, int]
