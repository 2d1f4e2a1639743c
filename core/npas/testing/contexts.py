"""Laws of a recipe about where it composes: under autocast, in threads, in an exported file."""

import copy
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from npas.recipes import Unrolled
from npas.sharing.group import SharedGroup
from npas.torch_internals import version

NUM_THREADS = 4
"""Threads that use a group at once."""

NUM_ROUNDS = 5
"""Times that they do."""


def check_autocast(shared: SharedGroup) -> None:
    """Check that a group composes, pulls back and fits in its own precision under autocast.

    Args:
        shared: with random banks.

    Raises:
        AssertionError: autocast changes a bit.
    """
    shared = shared.float()
    wanted = _composed_and_pulled_back(copy.deepcopy(shared))
    fitted = _fitted(shared, wanted[0])
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            found = _composed_and_pulled_back(shared)
            refitted = _fitted(shared, wanted[0])
        _equal(found[0], wanted[0], f"autocast to {dtype} changes weights")
        _equal(found[1], wanted[1], f"autocast to {dtype} changes gradients")
        _equal(refitted, fitted, f"autocast to {dtype} changes what is fitted")
        _equal(shared.weights(), wanted[0], f"autocast to {dtype} leaves weights behind")
        shared.forget()


def _composed_and_pulled_back(shared: SharedGroup) -> tuple[list[Tensor], list[Tensor]]:
    weights = shared()
    gradients = [torch.cos(weight.detach()) for weight in weights]
    parameters = list(shared.parameters())
    pulled = torch.autograd.grad(weights, parameters, gradients)
    return [weight.detach().clone() for weight in weights], list(pulled)


def _fitted(shared: SharedGroup, weights: list[Tensor]) -> list[Tensor]:
    twin = copy.deepcopy(shared)
    twin.fit(weights)
    return [parameter.detach().clone() for parameter in twin.parameters()]


def check_threads(shared: SharedGroup) -> None:
    """Check that threads that use a group at once all see finished weights and gradients.

    Args:
        shared: with random banks.

    Raises:
        AssertionError: one of them saw something else.
    """
    wanted = _composed_and_pulled_back(copy.deepcopy(shared))
    for number in range(NUM_ROUNDS):
        group = copy.deepcopy(shared)  # with no memory of its own yet
        use = functools.partial(_used, group, threading.Barrier(NUM_THREADS), number)
        with _quick_switches(), ThreadPoolExecutor(NUM_THREADS) as threads:
            futures = [threads.submit(use) for _ in range(NUM_THREADS)]
        for found in (pair for future in futures for pair in future.result()):
            _equal(found[0], wanted[0], "a thread saw weights that were not finished")
            _equal(found[1], wanted[1], "a thread got gradients of another")


def _used(
    group: SharedGroup, together: threading.Barrier, number: int
) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Compose and pull back a few times, beginning with the other threads."""
    seen = []
    together.wait()
    for turn in range(NUM_ROUNDS):
        if (turn + number) % 2:
            group.forget()
        seen.append(_composed_and_pulled_back(group))
    return seen


@contextmanager
def _quick_switches() -> Iterator[None]:
    """Let Python change from thread to thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def check_lifetime(shared: SharedGroup) -> None:
    """Check that weights that were given out stay as they are while nothing is trained.

    They may be part of a graph that waits for its backward, or be read by another thread.

    Args:
        shared: with random banks.

    Raises:
        AssertionError: they were written again.
    """
    wanted, gradients = _composed_and_pulled_back(copy.deepcopy(shared))
    given = shared()
    kept = [weight.detach() for weight in given]
    versions = [version(weight) for weight in kept]
    shared.eval()
    shared.forget()
    with torch.no_grad():
        again = shared()
    shared.train()
    assert versions == [version(weight) for weight in kept], "weights in use are written again"
    _equal(kept, wanted, "weights in use change")
    _equal([weight.detach() for weight in again], wanted, "weights are others the second time")
    outer = [torch.cos(weight) for weight in kept]
    pulled = torch.autograd.grad(given, list(shared.parameters()), outer)
    _equal(list(pulled), gradients, "gradients are others after an evaluation")
    with torch.no_grad():
        for parameter in shared.parameters():
            parameter.mul_(2.0)
        shared()
    assert versions == [version(weight) for weight in kept], "an evaluation writes over weights"


def check_unrolled(shared: SharedGroup) -> None:
    """Check that a recipe which says how exported files compose says the same weights.

    Args:
        shared: with random banks, float64.

    Raises:
        AssertionError: they are others.
    """
    composer = shared._composer
    if not isinstance(composer, Unrolled):
        return
    wanted = [weight.detach().clone() for weight in shared()]
    with torch.no_grad():
        found = composer.unrolled(list(shared.templates), shared._current().mixing)
    for one, other in zip(wanted if found is None else found, wanted, strict=True):
        # The tolerance is for another order of the same sums.
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-9)


def _equal(found: list[Tensor], wanted: list[Tensor], message: str) -> None:
    for one, other in zip(found, wanted, strict=True):
        is_same = one.dtype == other.dtype and torch.equal(one, other)
        assert is_same, f"{message}: {_apart(one, other)}"


def _apart(one: Tensor, other: Tensor) -> str:
    if one.dtype != other.dtype:
        return f"{one.dtype}, not {other.dtype}"
    return f"off by {float((one - other).abs().max()):.3g}"


CONTEXTS: dict[str, Callable[[SharedGroup], None]] = {
    "autocast changes nothing": check_autocast,
    "threads see finished weights": check_threads,
    "weights in use stay": check_lifetime,
    "unrolled, weights are the same": check_unrolled,
}
"""The laws, by name."""
