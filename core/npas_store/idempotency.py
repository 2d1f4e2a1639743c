"""Idempotency keys: a request that is sent again under its key makes nothing more."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from npas_store.tables import IdempotencyKey


def reserve(session: Session, key: str, request_fingerprint: str, resource: str) -> str:
    """Join a key to what is about to be made, and return the id that it belongs to.

    That is another one if the key was used before; then nothing is to be made. A transaction that
    has the same key at this moment is waited for.

    Args:
        key: of the client.
        request_fingerprint: of the request, `json_values.fingerprint`.
        resource: id of what this transaction is about to make.
    """
    row = {"key": key, "request_fingerprint": request_fingerprint, "resource": resource}
    statement = insert(IdempotencyKey).values(row).on_conflict_do_nothing()
    while True:
        written = session.scalars(statement.returning(IdempotencyKey.resource)).one_or_none()
        if written is not None:
            return written
        found = known(session, key)
        if found is not None:  # else it was deleted just now
            return found.resource


def known(session: Session, key: str) -> IdempotencyKey | None:
    """Return what is known of a key; None: it was never used."""
    query = select(IdempotencyKey).where(IdempotencyKey.key == key)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()
