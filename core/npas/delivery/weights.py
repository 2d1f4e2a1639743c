"""Files of trained weights alone, of networks that share nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from npas import arch, tensor_file
from npas.delivery.checkpoint import METADATA_KEY
from npas.errors import StartError
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.sharing.model import SharedModel
from npas.sharing.sameness import FIELD
from npas.sharing.weights_file import check_weights, read_header
from npas.spec import MethodSpec, NetworkSpec
from npas.spec.sweep_points import BASELINE


def is_of_weights(path: Path) -> bool:
    """Tell whether a file holds tensors without a plan.

    What cannot be read is no such file: whoever opens it as one of ours will say why.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return METADATA_KEY not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def dense_plan(path: Path, networks: Sequence[NetworkSpec]) -> Plan:
    """Return the plan of networks without sharing, after checking that a file is of them.

    Args:
        path: of a file of weights; its tensors are not read.
        networks: with all sizes.

    Raises:
        StartError: the file is of other networks; the message names the first tensor.
    """
    check_weights(read_header(path).shapes, networks)
    dense = PlanningProblem.resolved(
        tuple(networks),
        budget=None,
        asked=MethodSpec(name=BASELINE),
        unshared=(),
        share_embeddings=True,
    )
    return solve(dense)


def with_weights(path: Path, networks: Sequence[NetworkSpec]) -> SharedModel:
    """Return networks with the weights of a file, in evaluation mode, sharing nothing.

    Args:
        path: of the file; tensors have the names of the modules' state dicts.
        networks: with all sizes.

    Raises:
        StartError: the file is of other networks, or its numbers are none; the message names the
            first tensor.
    """
    plan = dense_plan(path, networks)
    names = check_weights(read_header(path).shapes, networks)
    modules = {net.name: arch.build(net.architecture) for net in networks}
    with safe_open(path, framework="pt") as file, torch.no_grad():
        for network, module in modules.items():
            state = dict(module.state_dict())
            for key, name in names.items():
                if key[0] == network:
                    state[key[1]] = _read(file.get_tensor(name), state[key[1]], name)
            _check_finite(state)
            module.load_state_dict(tensor_file.as_state_of(module, state))
    with torch.device("cpu"):
        return SharedModel(modules, plan).eval()


def _read(given: Tensor, wanted: Tensor, name: str) -> Tensor:
    """Return a tensor of a file in the network's precision."""
    if wanted.is_floating_point() and not given.is_floating_point():
        raise StartError(
            f"in the file of weights, {name!r} is {given.dtype}, and weights are numbers with a "
            "fraction: give those before they were quantised",
            field=FIELD,
        )
    return given.to(wanted.dtype, copy=True)


def _check_finite(state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise StartError(
                f"in the file of weights, {name!r} holds infinite numbers or none at all: give "
                "weights of a training that did not diverge",
                field=FIELD,
            )
