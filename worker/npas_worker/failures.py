"""What an exception of a training means for its job: the reason that its claim ends with.

What follows is the store's to say, by the reason's code: the end, or another try (`causes`).
"""

import errno
from typing import Any

from npas import errors
from npas_store.database import UNREACHABLE, why_unreachable
from npas_store.transitions import reason

_OF_THE_DEVICE = ("CUDA", "cuDNN", "NVIDIA")
_RENAMED = {
    errors.DataError.code: "invalid_data",
    errors.InfeasibleBudgetError.code: "budget_infeasible",
    # no part of a job: who makes graphs of modules, or files for other tools, meets these
    errors.UndeclarableError.code: "internal_error",
    errors.ExportError.code: "internal_error",
}
"""Codes of the library for which jobs have another word."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: BaseException) -> dict[str, Any]:
    """Return the reason that an exception of the training is, in words for the user."""
    if isinstance(error, errors.NpasError):
        if _is_of_the_disk(error.__cause__):
            return reason("machine_failed", error.message, field=error.field)
        return reason(_RENAMED.get(error.code, error.code), error.message, field=error.field)
    if isinstance(error, UNREACHABLE):
        return reason("database_away", why_unreachable(error))
    return _short_of_memory(error) or _of_the_machine(error)


def _is_of_the_disk(error: BaseException | None) -> bool:
    """Tell whether a file is there and cannot be read."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def _short_of_memory(error: BaseException) -> dict[str, Any] | None:
    smaller = {"field": "/training/batch_size"}
    if type(error).__name__ == "OutOfMemoryError":  # torch's; it is no part of our imports
        return reason("oom_gpu", "the GPU has too little memory for this batch", **smaller)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return reason("oom_host", "the worker has too little memory for this", **smaller)
    return None


def _of_the_machine(error: BaseException) -> dict[str, Any]:
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in _FULL:
        return reason("disk_full", f"no room left on the worker's disk ({error.filename})")
    if isinstance(error, OSError | ImportError):
        return reason("machine_failed", message)
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _OF_THE_DEVICE):
        return reason("device_unusable", message)
    return reason("internal_error", message)
