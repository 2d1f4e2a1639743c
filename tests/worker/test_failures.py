"""What users read when a training fails."""

import errno

import pytest
import torch
from npas.errors import DataError, InvalidSpecError, NonFiniteLossError
from npas_worker.failures import explain


@pytest.mark.parametrize(
    ("error", "code", "field", "is_passing"),
    [
        (InvalidSpecError("no such option", field="/method"), "invalid_spec", "/method", False),
        (
            DataError("no labels", field="/dataset"),
            "dataset_unusable",
            "/dataset",
            False,
        ),
        (NonFiniteLossError("it diverged"), "nan_loss", "", False),
        (torch.OutOfMemoryError("CUDA"), "gpu_out_of_memory", "/training/batch_size", False),
        (OSError(errno.ENOSPC, "no space", "x"), "disk_full", "", True),
        (OSError(errno.EIO, "broken", "x"), "internal_error", "", False),
        (ZeroDivisionError("oops"), "internal_error", "", False),
    ],
)
def test_explain_names_cause_and_field(error, code, field, is_passing):
    failure = explain(error)
    assert (failure.reason["code"], failure.reason["field"]) == (code, field)
    assert failure.is_passing is is_passing
    assert failure.reason["message"]
