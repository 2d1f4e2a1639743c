"""Computing in the tensors' own precision, whatever the caller's autocast and thread are."""

import contextlib
from collections.abc import Iterator

import torch


def _kinds() -> set[str]:
    """Return the kinds of devices that this machine computes on."""
    found = torch.accelerator.current_accelerator(check_available=False)
    return {"cpu"} if found is None else {"cpu", found.type}


_KINDS = _kinds()


@contextlib.contextmanager
def own_precision() -> Iterator[None]:
    """Compute without autocast, in as many threads as PyTorch is set to.

    What is made of parameters outlives the context that it is made in, and rounded once it would
    stay so. A function decorated with `own_precision()` runs in it.
    """
    # A new Python thread multiplies matrices in as many threads as there are cores, and so rounds
    # otherwise, until something asks it for PyTorch's setting.
    torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield
