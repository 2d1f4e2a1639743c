"""A trained network under a plan, in Python: what a job with a start does before it heals."""

from collections.abc import Iterable, Mapping
from typing import get_args

from torch import Tensor, nn

from npas.errors import InvalidSpecError
from npas.folding.recalibration import recalibrate
from npas.plans import Plan
from npas.sharing.activations import input_products, refit
from npas.sharing.alignment import align
from npas.sharing.checks import check_coverage, check_finite, named_as_planned
from npas.sharing.inheritance import Fit
from npas.sharing.model import SharedModel, share


def convert(
    networks: nn.Module | Mapping[str, nn.Module],
    plan: Plan,
    batches: Iterable[Tensor] = (),
    *,
    fit: Fit = "aligned",
) -> SharedModel:
    """Make trained networks share as a plan says, as near to what they are as its banks can.

    Hidden units are put in an order in which layers agree, which changes no output; banks are
    fitted to the weights; statistics of batch normalisations are measured anew. What that costs is
    healed by training on: best with the network itself as the teacher, at half of the rate.

    The modules are taken over, not copied: copy what is to be the teacher before.

    Args:
        networks: one module for a plan of one network, else modules by network name.
        plan: from `npas.plan`.
        batches: inputs (B, ...) of several images each, normalised as in training, on the modules'
            device; none: statistics stay as they are.
        fit: aligned: as above; activations: banks are then fitted to what layers put out for the
            batches; weights: hidden units stay where they are.

    Raises:
        PlanError: the plan does not fit these networks.
        InvalidSpecError: activations are asked for and there is no batch; there is no such fit; a
            weight is no finite number; or as for `share`.

    Example:
        >>> import npas, torch
        >>> module = npas.build("resnet-14")  # trained elsewhere: module.load_state_dict(...)
        >>> plan = npas.plan("resnet-14", budget={"fraction": 0.5}, method="soft_sharing")
        >>> net = npas.convert(module, plan, [torch.randn(8, 3, 32, 32)])
        >>> sum(p.numel() for p in net.parameters()) == plan.ledger.total
        True
    """
    if fit not in get_args(Fit):
        raise InvalidSpecError(f"fit {fit!r}: give {', '.join(get_args(Fit))}")
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        kind = type(batches).__name__
        raise InvalidSpecError(f"batches is a {kind}; give several tensors, such as [inputs]")
    given = list(batches)
    if fit == "activations" and not given:
        raise InvalidSpecError(
            "banks are fitted to what layers put out for a batch: give batches, or another fit"
        )
    named = named_as_planned(networks, plan)
    check_coverage(named, plan)
    keys = {slot.key for group in plan.groups for slot in group.slots}
    check_finite(named, keys)
    if fit != "weights":
        align(named, keys)
    products = input_products(named, keys, given) if fit == "activations" else {}
    wanted = {key: named[key[0]].get_parameter(key[1]) for key in keys}
    model = share(networks, plan, fit=True)
    refit(model, wanted, products)
    if given:
        recalibrate(model, given)
    return model
