"""A network of one plan begins with the weights of a network of another, or of the same."""

from collections.abc import Iterable, Mapping
from typing import cast

from torch import Tensor, nn

from npas.arch.own.copying import copied
from npas.errors import DataError
from npas.plans import Group, LayerKey, Plan
from npas.sharing import build
from npas.sharing.activations import input_products
from npas.sharing.conversion import converted
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel
from npas.sharing.sameness import check_inherits
from npas.spec.start import Fit


def inherited(
    model: SharedModel,
    plan: Plan,
    *,
    seed: int,
    fit: Fit = "weights",
    batches: Iterable[Tensor] = (),
) -> SharedModel:
    """Return the networks of a plan with the weights of a model, as near as its banks can.

    What is the same in both plans has the same values, bit for bit: layers outside groups, norms,
    biases, statistics, and the banks of groups that both have. Other banks are fitted to the
    weights of their layers, whose hidden units may be put in another order before: then what goes
    through them has another order, too. The model is left as it is.

    Args:
        model: with the weights.
        plan: of the networks to be trained.
        seed: of the job; of no say where the model has all weights, as it must.
        fit: aligned: hidden units are put in order first; activations: and banks are fitted to
            what layers put out after that; weights: neither.
        batches: of activations: inputs (B, ...), on one device, where layers are run.

    Raises:
        StartError: the model is of other networks.
    """
    check_inherits(plan, model.plan)
    plain = model.materialise()
    networks = build.networks(plan.networks, seed=seed)
    for name, network in networks.items():
        network.load_state_dict(plain[name].state_dict())
    same = {group.name: _same(group, model) for group in plan.groups}
    return converted(
        networks,
        plan,
        fit=fit,
        products=lambda layers: _products(networks, layers, batches),
        kept={name: banks for name, banks in same.items() if banks is not None},
    )


def _products(
    networks: Mapping[str, nn.Module], wanted: set[LayerKey], batches: Iterable[Tensor]
) -> dict[LayerKey, Tensor]:
    """Return inner products of what layers read, of copies that run where the batches are."""
    given = list(batches)
    if not given:
        raise DataError("banks cannot be fitted to what layers put out without a batch of inputs")
    copies = {name: copied(each).to(given[0].device) for name, each in networks.items()}
    return input_products(copies, wanted, given)


def _same(group: Group, model: SharedModel) -> SharedGroup | None:
    """Return the banks of a model that make the weights of a group from the same numbers."""
    for other in model.plan.groups:
        if other.model_copy(update={"name": group.name}) == group:
            return cast(SharedGroup, model.groups[other.name])
    return None
