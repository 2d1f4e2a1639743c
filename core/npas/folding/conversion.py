"""A trained network under a plan, in Python: what a job with a start does before it heals."""

from collections.abc import Iterable, Mapping
from typing import get_args

import torch
from torch import Tensor, nn

from npas.arch.own.copying import copied
from npas.errors import InvalidSpecError
from npas.plans import Plan
from npas.sharing.activations import input_products
from npas.sharing.conversion import converted
from npas.sharing.model import SharedModel, checked
from npas.spec.start import Fit
from npas.train.recalibration import check_batch, recalibrate


def convert(
    networks: nn.Module | Mapping[str, nn.Module],
    plan: Plan,
    batches: Iterable[Tensor] = (),
    *,
    fit: Fit | None = None,
) -> SharedModel:
    """Make trained networks share as a plan says, as near to what they are as its banks can.

    Hidden units are put in an order in which layers agree, which changes no output; banks are
    fitted to the weights, and then to what layers put out; statistics of batch normalisations are
    measured anew. What that costs is healed by training on: best with the network itself as the
    teacher, at half of the rate.

    The modules are taken over, not copied: copy what is to be the teacher before. Where something
    is refused they stay as they were. `origin.aligned` of the result says in how many blocks units
    have moved: none where `torch.fx` cannot trace a module.

    Args:
        networks: one module for a plan of one network, else modules by network name.
        plan: from `npas.plan`.
        batches: inputs (B, ...) of several images each, normalised as in training, on the modules'
            device; none: statistics stay as they are.
        fit: activations: as above; aligned: banks are fitted to the weights alone; weights:
            hidden units stay where they are, too. None: activations, or aligned without batches.

    Raises:
        PlanError: the plan does not fit these networks.
        InvalidSpecError: activations are asked for and there is no batch; there is no such fit; a
            weight is no finite number; or as for `share`.
        DataError: a batch is no tensor, is empty, or holds infinite numbers or NaN.

    Example:
        >>> import npas, torch
        >>> module = npas.build("resnet-14")  # trained elsewhere: module.load_state_dict(...)
        >>> plan = npas.plan("resnet-14", budget={"fraction": 0.5}, method="soft_sharing")
        >>> net = npas.convert(module, plan, [torch.randn(8, 3, 32, 32)])
        >>> sum(p.numel() for p in net.parameters()) == plan.ledger.total
        True
    """
    if fit is not None and fit not in get_args(Fit):
        raise InvalidSpecError(f"fit {fit!r}: give {', '.join(get_args(Fit))}")
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        kind = type(batches).__name__
        raise InvalidSpecError(f"batches is a {kind}; give several tensors, such as [inputs]")
    given = list(batches)
    if fit == "activations" and not given:
        raise InvalidSpecError(
            "banks are fitted to what layers put out for a batch: give batches, or another fit"
        )
    for batch in given:
        check_batch(batch)
    if fit is None:
        fit = "activations" if given else "aligned"
    named = checked(networks, plan)
    twins = copied(named)  # whatever fails from here on, it fails on these
    model = converted(
        twins,
        plan,
        fit=fit,
        products=lambda layers: input_products(twins, layers, given),
        kept={},
    )
    if given:
        recalibrate(model, given)
    return _taken_over(named, model)


def _taken_over(networks: Mapping[str, nn.Module], model: SharedModel) -> SharedModel:
    """Return modules in the place of their copies in a shared network, with all its numbers."""
    found = SharedModel(networks, model.plan)
    found.groups, found.origin = model.groups, model.origin
    ours = (*found.networks.parameters(), *found.networks.buffers())
    theirs = (*model.networks.parameters(), *model.networks.buffers())
    with torch.no_grad():
        for tensor, other in zip(ours, theirs, strict=True):
            if not torch.equal(tensor, other):  # an expanded one cannot be written to
                tensor.copy_(other)
    return found
