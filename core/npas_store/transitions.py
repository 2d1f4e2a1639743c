"""Changes of a job's state: a transition row and an event, always both.

All but the first state, which `submission.write` writes with the job.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from npas_store import events
from npas_store.causes import ANEW as ANEW
from npas_store.causes import cause
from npas_store.tables import Job, Transition


def reason(
    code: str, message: str, *, hint: str = "", field: str = "", **facts: Any
) -> dict[str, Any]:
    """Return why a job ended or waits again, as the API shows it.

    Args:
        code: of a cause, see `causes`.
        message: sentence for people.
        hint: what the user can do about it.
        field: JSON pointer of the part of the request to change.
        facts: more, for programs.
    """
    told = {"code": code, "message": message, "hint": hint, "field": field}
    return {**told, "retryable": cause(code).retryable, **facts}


def moved(
    session: Session,
    job: Job,
    *,
    before: str,
    message: str,
    why: Mapping[str, Any] | None = None,
) -> None:
    """Record that a job is now in `job.state`.

    Args:
        job: as it is after the change.
        before: the state it left.
        message: the event's sentence.
        why: a `reason`, where there is one.
    """
    kept = dict(why) if why else None
    session.add(
        Transition(
            job_id=job.id,
            from_state=before,
            to_state=job.state,
            claim_number=job.claim_number,
            attempt=job.attempt,
            reason=kept,
        )
    )
    data = {"from": before, "to": job.state, "attempt": job.attempt, "reason": kept}
    events.append(session, job.id, "state", message, data, level=_level(job.state, why))


def _level(state: str, why: Mapping[str, Any] | None) -> events.Level:
    if state == "failed":
        return "error"
    return "warning" if state in ("queued", "succeeded") and why else "info"
