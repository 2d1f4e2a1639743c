"""Where chance comes from: each draw is a function of where it is made, not of what came before.

So a run that is stopped and resumed draws the same numbers, and no generator state is ever saved.
"""

import hashlib

import torch


def number(*place: int | str) -> int:
    """Return a number from 0 to 2**63 - 1 for a place, such as ("order", seed, epoch)."""
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*place: int | str) -> torch.Generator:
    """Return a CPU generator for a place; on the CPU also for GPU runs, which then draw alike."""
    return torch.Generator().manual_seed(number(*place))
