"""Banks fitted to what layers put out, not to their weights."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from npas.errors import DataError
from npas.plans import LayerKey
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel

MAX_INPUTS = 8192
"""Rows of the largest matrix of inner products that is kept: 256 MiB; larger ones are left out."""

_ITERATIONS = 60
_KEPT_STEPS = 10  # of L-BFGS


@torch.no_grad()
def input_products(
    networks: Mapping[str, nn.Module], wanted: Collection[LayerKey], batches: Iterable[Tensor]
) -> dict[LayerKey, Tensor]:
    """Return the mean inner products of what layers read, `X^T X / N`, over images and positions.

    A linear layer reads rows of X, a convolution patches of the image. Of other layers, and of
    those of more than `MAX_INPUTS` inputs, there are none.

    Args:
        networks: by name; they are run in evaluation mode.
        wanted: (network, parameter), weights.
        batches: of inputs (B, ...), on the networks' device.

    Returns:
        (D, D), on the CPU, float32, by (network, parameter); D inputs of one output.

    Raises:
        DataError: what a layer reads is no finite number, or too large to be squared.
    """
    sums: dict[LayerKey, Tensor] = {}
    counts: dict[LayerKey, int] = {}
    modes = {module: module.training for each in networks.values() for module in each.modules()}
    try:
        with _watched(networks, wanted, sums, counts):
            for batch in batches:
                for network in networks.values():
                    network.eval()(batch)
    finally:
        for module, mode in modes.items():
            module.training = mode
    found = {key: (total / counts[key]).float().cpu() for key, total in sums.items()}
    for (name, parameter), products in found.items():
        if not bool(products.isfinite().all()):
            raise DataError(
                f"what {name}/{parameter} reads came out infinite or NaN: the weights do "
                "not suit these inputs"
            )
    return found


@contextmanager
def _watched(
    networks: Mapping[str, nn.Module],
    wanted: Collection[LayerKey],
    sums: dict[LayerKey, Tensor],
    counts: dict[LayerKey, int],
) -> Iterator[None]:
    """Add up what layers read as long as the block lasts."""

    def watch(key: LayerKey, module: nn.Module) -> Any:
        def add(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = _rows(module, given[0])
            sums[key] = sums.get(key, 0) + rows.T @ rows
            counts[key] = counts.get(key, 0) + len(rows)

        return module.register_forward_pre_hook(add)

    handles = []
    for name, network in networks.items():
        for path, module in network.named_modules():
            key = (name, f"{path}.weight" if path else "weight")
            if key in wanted and _can_be_watched(module):
                handles.append(watch(key, module))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _can_be_watched(module: nn.Module) -> bool:
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return False
    is_whole = isinstance(module, nn.Linear) or (
        module.groups == 1 and module.padding_mode == "zeros"
    )
    return is_whole and not isinstance(module.bias, str) and module.weight[0].numel() <= MAX_INPUTS


def _rows(module: nn.Module, x: Tensor) -> Tensor:
    """Return what makes one output each, a row (N, D) in the order of the weight."""
    x = x.double() if x.device.type == "cpu" else x.float()
    if isinstance(module, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    assert isinstance(module, nn.Conv2d)
    if isinstance(module.padding, str):  # "same", of stride 1; "valid" has none
        pads = module._reversed_padding_repeated_twice if module.padding == "same" else [0] * 4
    else:
        pads = [side for side in reversed(module.padding) for _ in range(2)]
    patches = F.unfold(
        F.pad(x, pads), module.kernel_size, dilation=module.dilation, stride=module.stride
    )
    return patches.movedim(1, 2).reshape(-1, patches.shape[1])


def refit(
    model: SharedModel, weights: Mapping[LayerKey, Tensor], products: Mapping[LayerKey, Tensor]
) -> None:
    """Fit banks to what layers put out, of the groups that have such layers; see `fit_to_outputs`.

    Args:
        model: whose banks are fitted to the weights already.
        weights: that are wanted, by (network, parameter).
        products: of what layers read, from `input_products`.
    """
    for group in model.plan.groups:
        keys = [slot.key for slot in group.slots]
        if products.keys().isdisjoint(keys):
            continue
        banks = model.groups[group.name]
        assert isinstance(banks, SharedGroup)
        device = banks.templates[0].device
        wanted = [weights[key].detach().cpu() for key in keys]
        fit_to_outputs(banks.cpu(), wanted, [products.get(key) for key in keys])
        banks.to(device)


def fit_to_outputs(
    banks: SharedGroup, weights: Sequence[Tensor], products: Sequence[Tensor | None]
) -> None:
    """Make what layers put out as near as banks can, from where the banks are.

    Minimised is the sum over layers of `||(V - W) C^(1/2)||^2 / ||W C^(1/2)||^2`: W is the weight
    that is wanted, V the one that the banks make, C the inner products of what it reads. Templates
    and coefficients move together, by L-BFGS. With C = 1 and layers of one norm that is what a
    truncated SVD does in one step.

    Args:
        banks: fitted to the weights already.
        weights: one per slot.
        products: one per slot, (D, D); None: 1.
    """
    roots = [None if each is None else _root(each) for each in products]
    wanted = [_outputs(*pair) for pair in zip(weights, roots, strict=True)]
    scales = [1 / each.square().sum().clamp_min(1e-30) for each in wanted]
    learned = list(banks.parameters())
    start = [each.detach().clone() for each in learned]
    search = torch.optim.LBFGS(
        learned, max_iter=_ITERATIONS, history_size=_KEPT_STEPS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        made = [_outputs(*pair) for pair in zip(banks(), roots, strict=True)]
        terms = zip(made, wanted, scales, strict=True)
        return torch.stack([(v - w).square().sum() * s for v, w, s in terms]).sum()

    def closure() -> Tensor:
        search.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]  # of PyTorch
        return found

    with torch.enable_grad():
        before = float(loss().detach())
        search.step(closure)  # type: ignore[no-untyped-call]  # of PyTorch
        if not float(loss().detach()) <= before:  # the line search failed, or went to NaN
            with torch.no_grad():
                for each, old in zip(learned, start, strict=True):
                    each.copy_(old)
    search.zero_grad()


def _outputs(weight: Tensor, root: Tensor | None) -> Tensor:
    flat = weight.reshape(len(weight), -1) if weight.dim() > 1 else weight.reshape(1, -1)
    return flat if root is None else flat @ root


def _root(products: Tensor) -> Tensor:
    """Return a square root of a symmetric matrix without negative eigenvalues, of mean 1.

    What is minimised is relative: its scale is of no account, and L-BFGS needs a moderate one.
    """
    exact = products.double()
    values, vectors = torch.linalg.eigh(exact / exact.diagonal().mean().clamp_min(1e-30))
    root: Tensor = (vectors * values.clamp_min(0).sqrt()).to(products)
    return root
