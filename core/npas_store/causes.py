"""Why jobs wait again or end: for each cause who is to blame, how often it is tried, a hint.

A job's `reason` names one of these codes. They are for programs, and stay: what an earlier release
called otherwise is still counted with what it is called now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

Blame = Literal["user", "machine", "npas"]
Tries = Literal["none", "few", "many", "any"]
Adjusts = Literal["micro_batches", "learning_rate_factor"]

ANEW = "the same request makes a new job; under an Idempotency-Key, give a new one"
"""What a user can do about a job that delivered nothing."""
_WELL = f"the worker's log has the details; once the machine is well, {ANEW}"
_CHANGE = "change what `field` points to, or what the message names, and send the request again"
_OURS = f"this is a fault of npas, or of the machine; the worker's log has the details; {ANEW}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """Why a job waits again, or why it ended.

    Attributes:
        code: stable word for programs.
        means: when a job has it, a sentence.
        blame: "user": the request, or who sent it; "machine": worker, disk, device or servers;
            "npas": a fault of ours.
        tries: "none": the job ends at once. "few": it ends with the third loss, "many": with the
            loss of number `settings.max_attempts`, both counted for this cause alone, and anew
            once a claim got further than all before it. "any": it is tried again as long as it
            takes, and no loss is counted.
        adjusts: what is changed before the next try, as long as it can be; that try is made even
            where no more would be.
        retryable: whether the same request, sent again as it is, may do better.
        hint: what to do when the job has ended for it.
        former: what earlier releases called it.
    """

    code: str
    means: str
    blame: Blame
    tries: Tries
    adjusts: Adjusts | None = None
    retryable: bool
    hint: str
    former: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The code and all former ones."""
        return (self.code, *self.former)


def _of_the_request(code: str, means: str, *, hint: str = _CHANGE, former: str = "") -> Cause:
    return Cause(
        code=code,
        means=means,
        blame="user",
        tries="none",
        retryable=False,
        hint=hint,
        former=(former,) if former else (),
    )


def _of_the_machine(code: str, means: str, *, hint: str = _WELL, former: str = "") -> Cause:
    return Cause(
        code=code,
        means=means,
        blame="machine",
        tries="many",
        retryable=True,
        hint=hint,
        former=(former,) if former else (),
    )


def _of_npas(code: str, means: str, *, hint: str = _OURS) -> Cause:
    return Cause(code=code, means=means, blame="npas", tries="few", retryable=True, hint=hint)


_SMALLER = "choose a smaller network, smaller images or a smaller training.batch_size"

CAUSES: tuple[Cause, ...] = (
    _of_the_machine("worker_lost", "the worker fell silent, or its training was killed"),
    _of_the_machine("stalled", "the training made no step for `NPAS_STALL_SECONDS`"),
    _of_the_machine("database_away", "Postgres did not answer when it was needed"),
    _of_the_machine("machine_failed", "a file, folder or library of the worker failed"),
    _of_the_machine(
        "device_unusable",
        "the worker's device failed; that worker stands aside until it works again",
        former="device_failed",
    ),
    Cause(
        code="disk_full",
        means="the worker's disk has no room; the job waits until there is",
        blame="machine",
        tries="any",
        retryable=True,
        hint="free space below NPAS_HOME, or give the worker a larger disk",
    ),
    Cause(
        code="oom_gpu",
        means="the GPU had too little memory",
        blame="machine",
        tries="few",
        adjusts="micro_batches",
        retryable=False,
        hint=f"{_SMALLER}, or use a GPU with more memory",
        former=("gpu_out_of_memory",),
    ),
    Cause(
        code="oom_host",
        means="the machine had too little memory, or the kernel killed the training for it",
        blame="machine",
        tries="few",
        adjusts="micro_batches",
        retryable=False,
        hint=f"{_SMALLER}, or run fewer workers on the machine",
        former=("out_of_memory",),
    ),
    Cause(
        code="nan_loss",
        means="the loss, a weight or a statistic became infinite or NaN",
        blame="user",
        tries="none",
        adjusts="learning_rate_factor",
        retryable=False,
        hint="lower training.learning_rate, or add training.warmup_epochs",
    ),
    Cause(
        code="timeout",
        means="the request's `time_limit` was over before all epochs were",
        blame="user",
        tries="none",
        retryable=True,
        hint="raise time_limit, ask for fewer epochs, or choose a smaller network",
    ),
    _of_the_request(
        "invalid_data",
        "the dataset is missing, damaged, changed, or not what a dataset must hold",
        hint="put the dataset right, and send the request again",
        former="dataset_unusable",
    ),
    _of_the_request(
        "budget_infeasible",
        "the budget is below the smallest network that the method can make",
        hint="raise the budget, or use a method that goes lower",
        former="infeasible_budget",
    ),
    _of_the_request("invalid_spec", "a value of the request is not allowed"),
    _of_the_request(
        "start_unusable",
        "the model file that the job starts from is missing, damaged, or of other networks",
        hint="start from another model file, or from none",
    ),
    _of_the_request("unknown_name", "the request names something that this worker does not know"),
    _of_the_request(
        "too_large", "the training needs more memory than any device has", hint=_SMALLER
    ),
    Cause(
        code="plan_outdated",
        means="data or code changed after the plan was promised",
        blame="npas",
        tries="none",
        retryable=True,
        hint="send the request again to have it planned anew",
    ),
    Cause(
        code="user_cancelled",
        means="its end was asked for",
        blame="user",
        tries="none",
        retryable=True,
        hint=ANEW,
    ),
    Cause(
        code="worker_stopped",
        means="its worker was stopped and saved its state; the job goes on elsewhere",
        blame="machine",
        tries="any",
        retryable=True,
        hint="nothing is to be done: another worker goes on",
    ),
    _of_npas("internal_error", "a fault of npas, or a worker that is broken in a new way"),
    _of_npas("invalid_plan", "the stored plan cannot be used"),
    _of_npas("invalid_checkpoint", "a resume file or model file cannot be used"),
    Cause(
        code="package_missing",
        means="a package that this job needs is not installed on the worker",
        blame="machine",
        tries="few",
        retryable=True,
        hint="install what the message names on the worker, and send the request again",
    ),
)
"""All causes, in the order of docs/reasons.md."""

_BY_CODE: Mapping[str, Cause] = MappingProxyType(
    {code: cause for cause in CAUSES for code in cause.codes}
)


def cause(code: str) -> Cause:
    """Return a cause by its code, today's or a former one; an unknown one is a fault of npas."""
    return _BY_CODE.get(code) or _of_npas(code, "a reason of another release")


def shown(reason: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a stored reason as it is told today: earlier releases did not say all of it."""
    if reason is None:
        return None
    known = cause(reason["code"])
    return {"hint": "", "field": "", "retryable": known.retryable, **reason, "code": known.code}
