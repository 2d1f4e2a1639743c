"""How many parameters a file of so many bytes should hold, and how coarse their steps are then.

More templates in the same bytes means fewer bits for each. `BITS` is what both are best traded at,
by what was tried (docs/decisions/0039); a network that has fewer weights than that has finer
steps. What the file holds beside its weights is known before anything is trained: the plan and the
table are written and coded here, and each of the few other numbers takes about a byte.
"""

import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npas import arch, registry
from npas.plans import FilePlan, Plan
from npas.plans.rounding import PLAIN_BITS, bits_of, is_weight, step_for
from npas.spec import ArchitectureSpec

BITS = 3.5
"""Of each weight, where the budget leaves the choice."""

VALUE_BYTES = 1.05
"""Of each number that is not on a grid, coded, with the fewest digits; measured, trained."""

_MOST_BITS, _MOST_VALUE_BYTES, _MOST_ROW_BYTES, _MOST_FRAME_BYTES = 0.45, 1.5, 11, 550
"""Of each weight with the coarsest steps, of each other number, of a step in the table, and of the
frame: what trained networks of every method stayed below. A file that is expected to be smaller
may not fit when its network is trained."""

_STEP_BYTES = 3
"""Of a step in the table, coded."""

_FRAME_BYTES = 450
"""Of a file's header, digest and what a job says of itself beside the plan, coded."""

_TURNS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What the file of a plan holds.

    Attributes:
        weights: scalars on a grid.
        values: other numbers that are rounded.
        rows: tensors on a grid.
        overhead: bytes of all but the weights, coded.
        plain_bytes: of the file without any rounding, at most.
    """

    weights: int
    values: int
    rows: int
    overhead: int
    plain_bytes: int

    def bits(self, num_bytes: int) -> float:
        """Return the bits that are left for each weight in a file of so many bytes."""
        return 8 * (num_bytes - self.overhead) / max(1, self.weights)

    @property
    def least_bytes(self) -> int:
        """Of the smallest file, at most."""
        weights = _MOST_BITS * self.weights / 8
        values = (_MOST_VALUE_BYTES - VALUE_BYTES) * self.values
        frame = (_MOST_ROW_BYTES - _STEP_BYTES) * self.rows + _MOST_FRAME_BYTES - _FRAME_BYTES
        return self.overhead + math.ceil(weights + values) + frame


def parameters_for(
    num_bytes: int, *, least: int, smallest: Held, dense: int, held: Callable[[int], Held]
) -> int:
    """Return the budget in parameters for a file of so many bytes; the same answer each time.

    Args:
        num_bytes: most bytes of the file, `smallest.least_bytes` or more.
        least: parameters of the smallest plan.
        smallest: what its file holds.
        dense: parameters without sharing.
        held: what the file of the plan for a budget in parameters holds.
    """
    tried = {least: smallest}
    found = min(dense, max(least, int(8 * num_bytes / BITS)))
    while found not in tried and len(tried) <= _TURNS:
        file = tried[found] = held(found)
        spare = int(8 * (num_bytes - file.overhead) / BITS) - file.weights
        found = min(dense, max(least, found + spare))
    fitting = {
        count: file.bits(num_bytes)
        for count, file in tried.items()
        if file.least_bytes <= num_bytes
    }
    return min(fitting, key=lambda count: (abs(math.log(fitting[count] / BITS)), count))


def recorded(plan: Plan, num_bytes: int) -> FilePlan:
    """Return what is expected of the file of a plan.

    Args:
        plan: that was made for it.
        num_bytes: the budget.
    """
    file = held(plan)
    if file.plain_bytes <= num_bytes:
        return FilePlan(bytes=num_bytes, overhead=file.overhead, bits=PLAIN_BITS, step=0.0)
    step = step_for(file.bits(num_bytes))
    bits = float(f"{bits_of(step):.4g}")
    return FilePlan(bytes=num_bytes, overhead=file.overhead, bits=bits, step=step)


def held(plan: Plan) -> Held:
    """Return what the file of a plan holds."""
    slots = {slot.key for group in plan.groups for slot in group.slots}
    rows: list[tuple[str, Sequence[int]]] = []
    weights, values, kept = plan.ledger.templates, plan.ledger.coefficients, 0
    for index, network in enumerate(plan.networks):
        for name, kind, shape, is_buffer in state_of(network.architecture):
            if (network.name, name) in slots:
                continue
            rows.append((f"networks.{index}.{name}", shape))
            size, is_large = math.prod(shape), len(shape) > 1
            weights += size if is_weight(name, kind, len(shape), is_buffer=is_buffer) else 0
            values += size if kind == "torch.float32" and not is_large else 0
            kept += size if kind == "torch.float32" and is_large and is_buffer else 0
    for group in plan.groups:
        for index, bank in enumerate(group.banks):
            rows.append((f"groups.{group.name}.templates.{index}", (bank.templates, bank.size)))
    told = json.dumps([json.loads(plan.to_json()), rows]).encode()
    coded = len(registry.imported("brotli", extra="bytes").compress(told))
    steps = len(plan.private) + sum(len(group.banks) for group in plan.groups)
    overhead = (
        _FRAME_BYTES + coded + _STEP_BYTES * steps + math.ceil(VALUE_BYTES * values) + 4 * kept
    )
    plain = 4 * (weights + values + kept) + 200 * len(rows) + 2 * len(told)
    return Held(weights=weights, values=values, rows=steps, overhead=overhead, plain_bytes=plain)


_State = tuple[tuple[str, str, tuple[int, ...], bool], ...]


def state_of(architecture: ArchitectureSpec) -> _State:
    """Return name, type, shape of each tensor of a network's file, and whether it is a buffer."""
    return _state(architecture.model_dump_json())


@functools.lru_cache(maxsize=64)
def _state(architecture: str) -> _State:
    spec = ArchitectureSpec.model_validate_json(architecture)
    network = arch.build_uninitialised(spec, device="meta")
    buffers = {name for name, _ in network.named_buffers()}
    return tuple(
        (name, str(each.dtype), tuple(each.shape), name in buffers)
        for name, each in network.state_dict().items()
    )
