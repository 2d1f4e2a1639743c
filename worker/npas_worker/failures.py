"""What an exception of a training means for its job: a reason, and whether to try again."""

import errno
from dataclasses import dataclass

from npas.errors import NpasError
from npas_store.history import reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a training ended by an exception.

    Attributes:
        reason: a `history.reason`.
        is_passing: the same may work later; else the same input fails the same way again.
    """

    reason: dict[str, str]
    is_passing: bool = False


def explain(error: BaseException) -> Failure:
    """Return what to tell the user about an exception of the training."""
    if isinstance(error, NpasError):
        return Failure(reason=reason(error.code, error.message, field=error.field))
    if type(error).__name__ == "OutOfMemoryError":  # torch's; it is no part of our imports
        return Failure(
            reason=reason(
                "gpu_out_of_memory",
                "the GPU has too little memory for this batch",
                hint="halve training.batch_size",
                field="/training/batch_size",
            )
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            reason=reason("disk_full", f"no room left on the worker's disk ({error.filename})"),
            is_passing=True,
        )
    return Failure(
        reason=reason(
            "internal_error",
            f"{type(error).__name__}: {error}",
            hint="this is a fault of npas, or of the machine; the worker's log has the details",
        )
    )
