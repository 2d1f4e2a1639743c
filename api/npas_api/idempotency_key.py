"""The header Idempotency-Key: a request that is sent again under its key makes nothing more."""

from typing import Annotated

from fastapi import Header
from pydantic import StringConstraints

from npas_api import errors

REPLAYED = "Idempotency-Replayed"
"""Header of an answer that tells of what an earlier request made."""

IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")] | None,
    Header(
        description="the same key and request make one thing, however often they are sent, and "
        "the answer is about that one"
    ),
]


def reused(resource: str) -> errors.IdempotencyKeyReusedError:
    """Return the refusal of a key that belongs to another request.

    Args:
        resource: id of what that one made.
    """
    blame = errors.FieldError(
        pointer="/idempotency-key",
        code="idempotency_key_reused",
        message="used before, with another body",
        place="header",
    )
    return errors.IdempotencyKeyReusedError(
        f"the Idempotency-Key belongs to {resource}, which was another request; use a new key",
        errors=[blame],
    )
