"""Queues a job in one statement: row, history, event, plan, and the message for the workers."""

import functools
import json
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from npas_store.tables import Job, Json, Transition

ACCEPTED = "accepted, waiting for a worker"

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
_TYPES = {c.name: c.type.compile(dialect=_DIALECT) for c in Job.__table__.c}
_BESIDE = {
    "transitions (job_id, to_state, at, claim_number, attempt)": (
        "id, state, created_at, claim_number, attempt"
    ),
    "events (job_id, seq, level, type, message, data)": (
        "id, event_seq, 'info', 'state', :message, CAST(:told AS jsonb)"
    ),
    "plans (job_id, version, document)": "id, 0, :plan",
    "outbox (job_id)": "id",
}
"""What is written beside the job, and what of."""

_AT_SCHEMA = (
    "(CAST(:schema AS text) IS NULL OR (SELECT version_num FROM alembic_version) = :schema)"
)


_RESERVED = (
    "reserved AS (INSERT INTO idempotency_keys (key, request_fingerprint, resource)"
    f" SELECT :key, :request_fingerprint, :id WHERE {_AT_SCHEMA}"
    " ON CONFLICT DO NOTHING RETURNING key), "
)


@functools.cache
def _statement(columns: tuple[str, ...], has_key: bool) -> Any:
    """Return the statement; it is made once, for that takes longer than to send it."""
    values = ", ".join(f"CAST(:{name} AS {_TYPES[name]})" for name in columns)
    source = "FROM reserved" if has_key else f"WHERE {_AT_SCHEMA}"
    job = (
        f"job AS (INSERT INTO jobs ({', '.join(columns)}, event_seq)"
        f" SELECT {values}, 1 {source} RETURNING *)"
    )
    beside = (
        f"beside_{number} AS (INSERT INTO {into} SELECT {of} FROM job)"
        for number, (into, of) in enumerate(_BESIDE.items())
    )
    parts = ", ".join([job, *beside])
    written = text(f"WITH {_RESERVED if has_key else ''}{parts} SELECT * FROM job")
    return select(Job).from_statement(written).execution_options(populate_existing=True)


def write(
    session: Session,
    values: Json,
    plan: str,
    *,
    idempotency_key: str | None = None,
    schema: str | None = None,
) -> Job | None:
    """Queue a job, all of it or nothing.

    A transaction that has the same key at this moment is waited for.

    Args:
        values: columns of the job's row.
        plan: JSON, kept byte for byte.
        idempotency_key: under which it is made; None: under none.
        schema: revision that the database must be at; None: any.

    Returns:
        the job; None: nothing was written, for the key was used before, or the schema is another.
    """
    told = {"from": None, "to": "queued", "attempt": 0, "reason": None}
    given = {name: _sent(name, value) for name, value in values.items()}
    given |= {"plan": plan, "message": ACCEPTED, "told": json.dumps(told), "schema": schema}
    if idempotency_key is not None:
        given["key"] = idempotency_key
    statement = _statement(tuple(values), idempotency_key is not None)
    found: Job | None = session.scalars(statement, given).one_or_none()
    return found


def _sent(name: str, value: Any) -> Any:
    return json.dumps(value) if _TYPES[name] == "JSONB" and value is not None else value


def first_history(job: Job) -> list[Transition]:
    """Return the history of a job that was written just now."""
    first = Transition(
        job_id=job.id,
        from_state=None,
        to_state="queued",
        at=job.created_at,
        claim_number=0,
        attempt=0,
        reason=None,
    )
    return [first]
