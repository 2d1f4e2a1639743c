"""Whether networks of two plans have the same layers, so that one can have the other's weights."""

from collections.abc import Mapping

from torch import Tensor

from npas import arch
from npas.errors import StartError
from npas.plans import Plan
from npas.spec import NetworkSpec

FIELD = "/start/checkpoint"
"""The part of a job request that is to blame where a start does not suit it."""

Shapes = Mapping[str, tuple[int, ...]]
"""Of parameters and statistics, by name."""


def check_inherits(plan: Plan, source: Plan) -> None:
    """Check that networks of one plan can begin with the weights of those of another.

    What shares what, and by which method, may differ; the layers may not. Settings that no weight
    belongs to, such as a dropout's, may differ too.

    Args:
        plan: of the networks to be trained.
        source: of the networks that have weights already.

    Raises:
        StartError: they are other networks; the message names the first layer that differs.
    """
    ours, theirs = ([network.name for network in each.networks] for each in (plan, source))
    if sorted(ours) != sorted(theirs):
        raise StartError(
            f"the networks to be trained are {ours}, those of the checkpoint {theirs}: begin with "
            "a checkpoint of networks of the same names",
            field=FIELD,
        )
    sources = {network.name: network for network in source.networks}
    for network in plan.networks:
        if network.architecture != sources[network.name].architecture:
            difference = _difference(_shapes(network), _shapes(sources[network.name]))
            if difference:
                raise StartError(
                    f"network {network.name} is not that of the checkpoint: {difference}; begin "
                    "with a checkpoint of the same layers, or without one",
                    field=FIELD,
                )


def _shapes(network: NetworkSpec) -> Shapes:
    built = arch.build_uninitialised(network.architecture, device="meta")
    state: Mapping[str, Tensor] = built.state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _difference(ours: Shapes, theirs: Shapes) -> str:
    """Return in words the first layer that differs; "" if none does."""
    for name, shape in ours.items():
        if name not in theirs:
            return f"the checkpoint has no {name}"
        if theirs[name] != shape:
            return f"{name} is {shape}, in the checkpoint {theirs[name]}"
    return next((f"it has no {name}" for name in theirs if name not in ours), "")
