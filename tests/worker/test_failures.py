"""What users read when a training fails, and what the store makes of it."""

import errno

import psycopg
import pytest
import sqlalchemy.exc
import torch
from npas import errors
from npas.errors import (
    CheckpointError,
    DataError,
    InfeasibleBudgetError,
    InvalidSpecError,
    NonFiniteLossError,
    TooLargeError,
    UnknownNameError,
)
from npas_store.causes import CAUSES, cause
from npas_worker.failures import explain

AWAY = sqlalchemy.exc.OperationalError(
    None, None, psycopg.OperationalError("the database system is starting up")
)
BELOW = InfeasibleBudgetError(method="ssn", budget=1, minimum=9, alternatives={})


@pytest.mark.parametrize(
    ("error", "code", "field"),
    [
        (InvalidSpecError("no such option", field="/method"), "invalid_spec", "/method"),
        (DataError("no labels", field="/dataset"), "invalid_data", "/dataset"),
        (BELOW, "budget_infeasible", "/budget"),
        (UnknownNameError("family", "x", ["y"], [], field="/architecture"), "unknown_name", None),
        (TooLargeError("too large"), "too_large", ""),
    ],
)
def test_explain_ends_the_job_for_what_the_user_asked(error, code, field):
    why = explain(error)
    assert (cause(code).blame, cause(code).tries, cause(code).adjusts) == ("user", "none", None)
    assert (why["code"], why["retryable"]) == (code, False)
    assert why["field"] == (error.field if field is None else field)
    assert why["message"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA"), "oom_gpu"),
        (MemoryError(), "oom_host"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom_host"),
        (NonFiniteLossError("it diverged"), "nan_loss"),
        (RuntimeError("Found no NVIDIA driver on your system"), "device_unusable"),
        (RuntimeError("CUDA error: unspecified launch failure"), "device_unusable"),
        (OSError(errno.ENOSPC, "no space", "x"), "disk_full"),
        (OSError(errno.EDQUOT, "over quota", "x"), "disk_full"),
        (OSError(errno.EIO, "broken", "x"), "machine_failed"),
        (ImportError("libcudnn.so.9"), "machine_failed"),
        (AWAY, "database_away"),
        (CheckpointError("a resume file that went bad"), "invalid_checkpoint"),
        (ZeroDivisionError("oops"), "internal_error"),
        (RuntimeError("shapes do not match"), "internal_error"),
    ],
)
def test_explain_tries_again_whatever_else_it_is(error, code):
    why = explain(error)
    known = cause(code)
    assert (why["code"], why["retryable"]) == (code, known.retryable)
    assert known.adjusts is not None or known.tries != "none"
    assert why["message"]


def test_explain_blames_the_disk_for_data_that_cannot_be_read():
    with pytest.raises(DataError) as caught:
        raise DataError("images.npy cannot be read") from OSError(errno.EIO, "broken")
    assert explain(caught.value)["code"] == "machine_failed"


def every_error():
    kinds = [errors.NpasError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return kinds[1:]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_of_the_library_has_a_cause(kind):
    error = kind.__new__(kind)
    errors.NpasError.__init__(error, "it cannot be used")
    assert explain(error)["code"] in {known.code for known in CAUSES}
