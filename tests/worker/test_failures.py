"""What users read when a training fails, and whether it is tried again."""

import errno

import psycopg
import pytest
import sqlalchemy.exc
import torch
from npas.errors import CheckpointError, DataError, InvalidSpecError, NonFiniteLossError
from npas_worker.failures import explain

AWAY = sqlalchemy.exc.OperationalError(
    None, None, psycopg.OperationalError("the database system is starting up")
)


@pytest.mark.parametrize(
    ("error", "code", "field"),
    [
        (InvalidSpecError("no such option", field="/method"), "invalid_spec", "/method"),
        (DataError("no labels", field="/dataset"), "dataset_unusable", "/dataset"),
        (NonFiniteLossError("it diverged"), "nan_loss", ""),
    ],
)
def test_explain_ends_the_job_for_what_the_user_asked(error, code, field):
    failure = explain(error)
    assert failure.is_final
    assert (failure.reason["code"], failure.reason["field"]) == (code, field)
    assert failure.reason["message"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA"), "gpu_out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("Found no NVIDIA driver on your system"), "device_failed"),
        (RuntimeError("CUDA error: unspecified launch failure"), "device_failed"),
        (OSError(errno.ENOSPC, "no space", "x"), "disk_full"),
        (OSError(errno.EIO, "broken", "x"), "machine_failed"),
        (ImportError("libcudnn.so.9"), "machine_failed"),
        (AWAY, "database_away"),
        (CheckpointError("a resume file that went bad"), "invalid_checkpoint"),
        (ZeroDivisionError("oops"), "internal_error"),
        (RuntimeError("shapes do not match"), "internal_error"),
    ],
)
def test_explain_tries_again_whatever_else_it_is(error, code):
    failure = explain(error)
    assert not failure.is_final
    assert failure.reason["code"] == code
    assert failure.reason["message"]


def test_explain_blames_the_disk_for_data_that_cannot_be_read():
    with pytest.raises(DataError) as caught:
        raise DataError("images.npy cannot be read") from OSError(errno.EIO, "broken")
    assert not explain(caught.value).is_final
