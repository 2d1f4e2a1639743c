"""What an exception of a training means for its job: a reason, and whether to try again.

A job ends for what its user asked, and that is listed here. All else is the machine's or ours: a
loss, tried again as often as its cause allows (`claims.lose`).
"""

import errno
from dataclasses import dataclass

from npas import errors
from npas_store.database import UNREACHABLE, why_unreachable
from npas_store.transitions import reason

_OF_THE_REQUEST = (
    errors.InvalidSpecError,
    errors.UnknownNameError,
    errors.InfeasibleBudgetError,
    errors.DataError,
    errors.NonFiniteLossError,
    errors.OutdatedPlanError,
    errors.TooLargeError,
)
_OF_THE_DEVICE = ("CUDA", "cuDNN", "NVIDIA")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a training ended by an exception.

    Attributes:
        reason: a `transitions.reason`.
        is_final: the request is to blame: it would fail the same way again.
    """

    reason: dict[str, str]
    is_final: bool = False


def explain(error: BaseException) -> Failure:
    """Return the failure that an exception of the training is, in words for the user."""
    if isinstance(error, errors.NpasError):
        is_final = isinstance(error, _OF_THE_REQUEST) and not _is_of_the_disk(error.__cause__)
        told = reason(error.code, error.message, field=error.field)
        return Failure(reason=told, is_final=is_final)
    if isinstance(error, UNREACHABLE):
        return Failure(reason=reason("database_away", why_unreachable(error)))
    return Failure(reason=_short_of_memory(error) or _of_the_machine(error))


def _is_of_the_disk(error: BaseException | None) -> bool:
    """Tell whether a file is there and cannot be read."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def _short_of_memory(error: BaseException) -> dict[str, str] | None:
    smaller = {"hint": "halve training.batch_size", "field": "/training/batch_size"}
    if type(error).__name__ == "OutOfMemoryError":  # torch's; it is no part of our imports
        message = "the GPU has too little memory for this batch"
        return reason("gpu_out_of_memory", message, **smaller)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return reason("out_of_memory", "the worker has too little memory for this", **smaller)
    return None


def _of_the_machine(error: BaseException) -> dict[str, str]:
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return reason("disk_full", f"no room left on the worker's disk ({error.filename})")
    if isinstance(error, OSError | ImportError):
        return reason("machine_failed", message)
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _OF_THE_DEVICE):
        return reason("device_failed", message)
    hint = "this is a fault of npas, or of the machine; the worker's log has the details"
    return reason("internal_error", message, hint=hint)
