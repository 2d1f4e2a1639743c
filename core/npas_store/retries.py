"""What follows a loss: another try after a pause, changed or not; or the end.

Losses are counted by cause, and anew once a claim got further than all before it: a job that goes
on does not fail for what happened to it days ago. `causes` says how many of each are allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from npas_store.causes import Cause, Tries, cause
from npas_store.settings import settings
from npas_store.states import TERMINAL
from npas_store.tables import Attempt, Job, Transition

LOWER_RATE = 0.1
"""Factor of the learning rate when a training that diverged is tried once more."""

DRAINED = "drained"
"""Outcome of a claim whose worker was asked to leave."""

_FEW = 3
_FIRST_BATCH_SIZE = 128  # of requests that were stored without one
_LEAST_PART = 2  # images: one alone has no variance for a batch norm
_LONGEST_PAUSE = 600.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """What follows a loss.

    Attributes:
        ends: whether nothing follows.
        losses: of this cause that count, this one among them.
        seconds: to wait before the next claim.
        adjustments: of the job from now on; None: as before.
        told: what is adjusted, for people; "" for nothing.
    """

    ends: bool
    losses: int
    seconds: float
    adjustments: Mapping[str, Any] | None = None
    told: str = ""


def following(session: Session, job: Job, code: str) -> Retry:
    """Return what follows the loss that a job's newest claim just ended with.

    Args:
        code: of the cause, as the attempt says it.
    """
    known = cause(code)
    counted = _since_progress(_attempts(session, job))
    losses = sum(each.outcome in known.codes for each in counted)
    adjusted, told = _adjusted(job, known)
    if adjusted is not None:
        first = settings().retry_seconds
        return Retry(ends=False, losses=losses, seconds=first, adjustments=adjusted, told=told)
    return Retry(
        ends=losses >= most(known.tries),
        losses=losses,
        seconds=_pause(sum(is_loss(each.outcome) for each in counted)),
    )


def most(tries: Tries) -> float:
    """Return the number of losses that ends a job."""
    many = settings().max_attempts
    return {"none": 0, "few": min(_FEW, many), "many": many, "any": float("inf")}[tries]


def is_loss(outcome: str | None) -> bool:
    """Tell whether an outcome of a claim is a loss: neither an end nor a pause."""
    return outcome not in (None, DRAINED, *TERMINAL)


def _attempts(session: Session, job: Job) -> Sequence[Attempt]:
    """Return the claims that count; once the end was asked for, those of deliveries alone.

    What the training used up leaves a delivery its own chances.
    """
    query = select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.claim_number)
    if job.cancel_requested:
        deliveries = select(Transition.claim_number).where(
            Transition.job_id == job.id,
            Transition.from_state == "queued",
            Transition.to_state == "cancelling",
        )
        query = query.where(Attempt.claim_number.in_(deliveries))
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _since_progress(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Return the last claim that got further than all before it, and those after it."""
    furthest, first = -1, 0
    for place, attempt in enumerate(attempts):
        if attempt.reached_step is not None and attempt.reached_step > furthest:
            furthest, first = attempt.reached_step, place
    return attempts[first:]


def _pause(losses: int) -> float:
    return float(min(settings().retry_seconds * 2 ** max(0, min(losses, 64) - 1), _LONGEST_PAUSE))


def _adjusted(job: Job, known: Cause) -> tuple[Mapping[str, Any] | None, str]:
    """Return the adjustments that a cause asks for, None when no more can be done; and words."""
    before = job.adjustments
    if known.adjusts == "learning_rate_factor" and "learning_rate_factor" not in before:
        told = f"once more from the last good state, at {LOWER_RATE:g} of the learning rate"
        return {**before, "learning_rate_factor": LOWER_RATE}, told
    if known.adjusts != "micro_batches":
        return None, ""
    batch = _batch_size(job.spec)
    parts = 2 * int(before.get("micro_batches", 1))
    if batch < _LEAST_PART * parts:
        return None, ""
    told = f"batches of {batch} images are now computed in {parts} parts each"
    return {**before, "micro_batches": parts}, told


def _batch_size(spec: Mapping[str, Any]) -> int:
    """Return the most images that a batch of a job may hold, as far as its request says it."""
    asked = int(spec.get("training", {}).get("batch_size", _FIRST_BATCH_SIZE))
    return min(asked, int(spec["dataset"].get("train_images", asked)))
