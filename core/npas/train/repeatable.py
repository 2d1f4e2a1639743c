"""What makes a training do the same each time, and in what it computes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from npas.spec import TrainingSpec


def precision(spec: TrainingSpec, device: torch.device) -> torch.dtype:
    """Return the type to compute in; "auto" mixes where that is faster: on GPUs with bfloat16."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    mixed = spec.precision == "bfloat16" or (spec.precision == "auto" and fast)
    return torch.bfloat16 if mixed else torch.float32


@contextmanager
def reproducible() -> Iterator[None]:
    """Give the caller's random state back afterwards; on a GPU, only repeatable convolutions."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    # A seed goes to all GPUs that this process uses, not to that of the training alone.
    is_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # of PyTorch
    devices = range(torch.cuda.device_count() if is_used else 0)
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
