"""Measuring while training: gradients of composed weights tell which layers could share."""

import contextlib
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from npas import arch
from npas.arch.layers import Layer
from npas.errors import DataError
from npas.plans import Group, Plan
from npas.plans.evidence import (
    BankAgreement,
    CoefficientAgreement,
    Evidence,
    EvidenceKind,
    Similarity,
)
from npas.plans.rows import is_tied, num_rows, readers_of_bank
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel, check_shared
from npas.sharing.precision import own_precision
from npas.sharing.untying import separated, untie
from npas.tasks import loss


@own_precision()
def gradient_agreement(model: SharedModel, batches: Iterable[tuple[Tensor, Tensor]]) -> Evidence:
    """Measure how much the layers' gradients agree, for every pair of one kernel class.

    The gradient is that of the composed weight (not of templates or coefficients), summed over the
    batches, with norms in evaluation mode. Layers of different shape are compared on their common
    leading part; layers made of many blocks of one bank on what each asks of the bank's templates,
    where layers of all shapes can agree or not. How large each gradient is is kept too. Frozen
    layers are measured as if they were not.

    Args:
        model: after a brief training of the search-stage plan.
        batches: images (B, channels, H, W), normalised, and labels (B,); ten or more are advised.

    Raises:
        DataError: there is no batch.
        InvalidSpecError: the model is not a shared network.

    Source: "Learning to Compose SuperWeights", section 2.2; its code takes a single batch.
    """
    check_shared(model)
    planned = arch.planned_layers(model.plan)
    sums: dict[tuple[str, str], Tensor] = {}
    count = 0
    with _in_evaluation(model), torch.enable_grad():
        for x, y in batches:
            count += 1
            for name, gradient in _gradients(model, planned, x, y).items():
                sums[name] = sums[name] + gradient if name in sums else gradient
    if not count:
        raise DataError("there is no batch to measure gradients on")
    energy = {name: _energy(gradient) for name, gradient in sums.items()}
    sums |= _asked_of_blocks(model, sums)
    classes: dict[str, list[Layer]] = defaultdict(list)
    for layer in planned:
        classes[layer.kernel_class].append(layer)
    return Evidence(
        batches=count,
        classes=tuple(_similarity(layers, sums, energy) for layers in classes.values()),
    )


def _energy(gradient: Tensor) -> float:
    found = gradient.double().square().sum().item()
    return found if math.isfinite(found) else 0.0


def _asked_of_blocks(
    model: SharedModel, gradients: dict[tuple[str, str], Tensor]
) -> dict[tuple[str, str], Tensor]:
    """Return the gradient of the templates by each layer of many blocks, flat."""
    found = {}
    for group in model.plan.groups:
        read = sum(num_rows(group, 0, slot) for slot in group.slots)
        if len(group.banks) > 1 or max(read, group.banks[0].rows) <= len(group.slots):
            continue
        names = [slot.key for slot in group.slots]
        shared = cast(SharedGroup, model.groups[group.name])
        for own in names:
            alone = [gradients[name] if name == own else None for name in names]
            with torch.no_grad():
                found[own] = shared.pull_back(alone)[0].flatten()
    return found


def measured(
    kind: EvidenceKind, model: SharedModel, batches: Iterable[tuple[Tensor, Tensor]]
) -> Evidence:
    """Measure what a method wants to know after a search stage, see `npas.plans.evidence`."""
    if kind == "representation":
        return representation(model)
    return gradient_agreement(model, batches)


def representation(model: SharedModel) -> Evidence:
    """Measure how alike the layers of every bank use its templates.

    The cosine of two layers' coefficients under the metric of the templates: a_i (T T^t) a_j^t.
    The same network written with another basis of its templates gives the same numbers, which
    cosines of raw coefficients, as in the paper's code, do not.

    Args:
        model: after a brief training of the search-stage plan.

    Raises:
        InvalidSpecError: the model is not a shared network.

    Source: "Neural Parameter Allocation Search", section 3.2.
    """
    check_shared(model)
    found = []
    for group in model.plan.groups:
        shared = cast(SharedGroup, model.groups[group.name])
        if len(group.banks) > 1 or group.banks[0].rows != len(group.slots):
            continue
        templates_KD = shared.templates[0].detach().double()
        rows = torch.tensor([slot.rows[0] for slot in group.slots])
        coefficients_LK = shared.coefficients[0].detach().double()[rows.to(templates_KD.device)]
        directions = _directions(coefficients_LK @ templates_KD)
        found.append(
            Similarity(
                layers=tuple(slot.key for slot in group.slots),
                cosine=_rows(directions @ directions.t()),
            )
        )
    return Evidence(kind="representation", batches=0, classes=tuple(found))


@own_precision()
def coefficient_agreement(
    model: SharedModel, batches: Iterable[tuple[Tensor, Tensor]]
) -> CoefficientAgreement:
    """Measure how much layers agree that share coefficients, for each bank with such layers.

    The gradient is that of a coefficient vector of the layer's own, summed over the batches, with
    norms in evaluation mode.

    Args:
        model: in the midst of its training; it is left as it is.
        batches: as for `gradient_agreement`.

    Raises:
        DataError: there is no batch.
        InvalidSpecError: the model is not a shared network.

    Source: "Learning to Compose SuperWeights", the released code's refinement, which sums over
    the whole training set.
    """
    check_shared(model)
    apart = untie(model, separated(model.plan)).model.eval().requires_grad_(True)
    wanted = list(shared_banks(model.plan))
    values = [
        cast(SharedGroup, apart.groups[group.name]).coefficients[place]
        for group, _, place in wanted
    ]
    sums = [torch.zeros_like(value, dtype=torch.float64) for value in values]
    count = 0
    for x, y in batches:
        count += 1
        with torch.enable_grad():
            found = torch.autograd.grad(_loss(apart, x, y), values) if values else ()
        for total, gradient in zip(sums, found, strict=True):
            total += gradient
    if not count:
        raise DataError("there is no batch to measure gradients on")
    banks = []
    for (group, index, _), total in zip(wanted, sums, strict=True):
        readers = [group.slots[reader] for reader in readers_of_bank(group, index)]
        counts = [num_rows(group, index, slot) for slot in readers]
        pairs = zip(counts, itertools.accumulate(counts), strict=True)
        own = [total[end - count : end].flatten() for count, end in pairs]
        directions = _directions(nn.utils.rnn.pad_sequence(own, batch_first=True))
        banks.append(
            BankAgreement(
                group=group.name,
                bank=index,
                layers=tuple(slot.key for slot in readers),
                cosine=_rows(directions @ directions.t()),
            )
        )
    return CoefficientAgreement(batches=count, banks=tuple(banks))


def shared_banks(plan: Plan) -> Iterator[tuple[Group, int, int]]:
    """Yield each bank where layers share coefficients: its group, its index, and its place.

    The place is that among the banks of the group with coefficients.
    """
    for group in plan.groups:
        places = [index for index, bank in enumerate(group.banks) if bank.rows]
        for place, index in enumerate(places):
            if is_tied(group, index):
                yield group, index, place


@contextlib.contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    """Ask every parameter for gradients, and leave all as it was: some of it may be frozen."""
    modes = {module: module.training for module in model.modules()}
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    model.eval()
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, mode in modes.items():
            module.training = mode


def _loss(model: SharedModel, x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the members' losses, each the mean over the batch."""
    return torch.stack([loss(logits, y) for logits in model.members(x).values()]).sum()


def _gradients(
    model: SharedModel, layers: Iterable[Layer], x: Tensor, y: Tensor
) -> dict[tuple[str, str], Tensor]:
    """Return dL/dW of every layer for one batch."""
    loss = _loss(model, x, y)
    names, weights = [], []
    for layer in layers:
        path, _, attribute = layer.name.rpartition(".")
        names.append(layer.key)
        weights.append(getattr(model.network(layer.network).get_submodule(path), attribute))
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    pairs = zip(names, weights, found, strict=True)
    return {n: torch.zeros_like(w) if g is None else g.detach() for n, w, g in pairs}


def _similarity(
    layers: list[Layer],
    gradients: dict[tuple[str, str], Tensor],
    energy: dict[tuple[str, str], float],
) -> Similarity:
    """Return the cosine matrix of one kernel class, and each layer's energy.

    Layers of one shape are stacked, so that a pair of shapes costs one matrix product. Of two
    layers of which only one is made of blocks nothing is known: 0.
    """
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, layer in enumerate(layers):
        by_shape[gradients[layer.network, layer.name].shape].append(index)
    stacks = {
        shape: torch.stack([gradients[layers[i].network, layers[i].name] for i in rows])
        for shape, rows in by_shape.items()
    }
    cosines = torch.zeros(len(layers), len(layers), dtype=torch.float64, device="cpu")
    for one, rows in by_shape.items():
        for other, columns in by_shape.items():
            if one != other and 1 in (len(one), len(other)):
                continue
            common = tuple(slice(min(sides)) for sides in zip(one[:2], other[:2], strict=True))
            a = _directions(stacks[one][(slice(None), *common)])
            b = _directions(stacks[other][(slice(None), *common)])
            cosines[np.ix_(rows, columns)] = (a @ b.t()).cpu()
    names = tuple(layer.key for layer in layers)
    return Similarity(
        layers=names, cosine=_rows(cosines), energy=tuple(energy[name] for name in names)
    )


def _rows(cosines: Tensor) -> tuple[tuple[float, ...], ...]:
    """Return a matrix of cosines as data: symmetric, in range, 0 for what is no number."""
    even = (cosines + cosines.t()).div_(2).nan_to_num_(0.0, 0.0, 0.0).clamp_(-1, 1)
    return tuple(tuple(row) for row in even.tolist())


def _directions(gradients: Tensor) -> Tensor:
    """Return (L, D) unit vectors, zeros for zeros; a gradient counts however small it is."""
    return F.normalize(gradients.flatten(1).double(), dim=1, eps=1e-200)
