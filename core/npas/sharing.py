"""share(): put a plan into effect. Networks go in, a module that reads its banks comes out.

The networks underneath see plain tensors: all layers of a group are composed together by
hand-written linear algebra, one autograd node per group, once per optimiser step, and kept
while nothing changes.
"""

import contextlib
import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim.optimizer import register_optimizer_step_post_hook

from npas import recipes, registry
from npas.coverage import check_coverage, named_as_planned
from npas.errors import InvalidSpecError, UnknownNameError
from npas.plans import Group, Plan, check_plan
from npas.recipes import Start
from npas.start import mixing_of, rows_and_gains

_fresh = itertools.count(1)


def _count_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Note on its parameters that an optimiser stepped: fused ones count no versions up."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter._npas_steps = getattr(parameter, "_npas_steps", 0) + 1


def _changes(parameter: Tensor) -> tuple[int, int]:
    """Return numbers that differ from all earlier ones if the parameter was changed in place."""
    if parameter.is_inference():
        return next(_fresh), 0  # such a tensor counts nothing: compose anew every time
    return parameter._version, getattr(parameter, "_npas_steps", 0)


register_optimizer_step_post_hook(_count_step)


def _no_autocast(device_type: str) -> contextlib.AbstractContextManager[None]:
    """Return a context without autocast, also for a device that knows none, such as meta."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


class _Compose(torch.autograd.Function):
    """The weights of one group as one node: values come from the cache, gradients by hand."""

    @staticmethod
    def forward(ctx: Any, banks: "SharedGroup", *parameters: Tensor) -> tuple[Tensor, ...]:
        """Return the cached weights as differentiable tensors."""
        ctx.banks = banks
        ctx.state = banks.versions()
        del parameters  # they are inputs only so that autograd knows of them
        return tuple(weight.detach() for weight in banks.weights())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Pull the weights' gradients back to templates and coefficients."""
        if ctx.state != ctx.banks.versions():
            raise RuntimeError(
                "a template or coefficient was changed between forward and backward; "
                "run forward again after the optimiser's step"
            )
        # Called inside autocast, a matrix product would round the gradients of all templates.
        with _no_autocast(ctx.banks.templates[0].device.type):
            return (None, *ctx.banks.pull_back(gradients))


class SharedGroup(nn.Module):
    """The banks of one group: templates, coefficients, and the weights made of them.

    Attributes:
        templates: one (K, D) parameter per bank.
        coefficients: one (rows, K) parameter per bank that has any.
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self._composer = recipes.find(group.recipe)(group)
        self.templates = nn.ParameterList()
        self.coefficients = nn.ParameterList()
        self._has_coefficients = [bank.rows > 0 for bank in group.banks]
        self._gains: list[Tensor] = []
        self._rows: list[Tensor] = []
        for bank, readers in zip(group.banks, self._composer.readers, strict=True):
            self.templates.append(nn.Parameter(torch.empty(bank.templates, bank.size)))
            if bank.rows:
                self.coefficients.append(nn.Parameter(torch.empty(bank.rows, bank.templates)))
            rows, gains = rows_and_gains(readers, bank.rows)
            self._rows.append(rows)
            self._gains.append(gains)
        self._cast_gains = list(self._gains)
        self._key: tuple[int, ...] | None = None
        self._composed_from: list[Tensor] = []
        self._num_composed = 0
        self._weights: list[Tensor] = []
        self._mixing: list[Tensor] = []

    def _coefficients(self) -> list[nn.Parameter | None]:
        """Return one entry per bank, None where it has no coefficients."""
        rest = iter(self.coefficients)
        return [cast(nn.Parameter, next(rest)) if has else None for has in self._has_coefficients]

    def weights(self) -> list[Tensor]:
        """Return the weights of all slots; composed anew only if a parameter has changed."""
        key = self._state()
        if key != self._key:
            # What is composed in an evaluation under inference_mode must serve training too.
            with torch.inference_mode(False), torch.no_grad():
                self._mixing = [
                    mixing_of(alpha, self._rows[index], self._gain(index))
                    for index, alpha in enumerate(self._coefficients())
                ]
                self._weights = self._composer.compose(list(self.templates), self._mixing)
            self._key = key
            # While they are kept, no new parameter can lie where one of these lies.
            self._composed_from = [p.detach() for p in self.parameters()]
            self._num_composed += 1
        return self._weights

    def versions(self) -> tuple[int, ...]:
        """Return numbers that change with every visible change of the banks or their weights."""
        changes = (_changes(p) for p in self.parameters())
        return (self._num_composed, *itertools.chain.from_iterable(changes))

    def _state(self) -> tuple[int, ...]:
        """Return numbers that change whenever a parameter may have changed."""
        changes = ((*_changes(p), p.data_ptr()) for p in self.parameters())
        return tuple(itertools.chain.from_iterable(changes))

    def forget(self) -> None:
        """Compose anew at the next use, whatever has changed."""
        self._key = None

    def _gain(self, index: int) -> Tensor:
        """Return the readers' gains (M, 1) as the bank's templates are kept."""
        templates, cast_gain = self.templates[index], self._cast_gains[index]
        if (cast_gain.device, cast_gain.dtype) != (templates.device, templates.dtype):
            self._cast_gains[index] = self._gains[index].to(templates)
        return self._cast_gains[index]

    def take(self, starts: Sequence[Start]) -> None:
        """Take over values for all banks, one start each."""
        with torch.no_grad():
            for templates, alpha, start in zip(
                self.templates, self._coefficients(), starts, strict=True
            ):
                templates.copy_(start.templates)
                if alpha is not None and start.coefficients is not None:
                    alpha.copy_(start.coefficients)

    def start(self, generator: torch.Generator) -> None:
        """Start from random values."""
        self.take(self._composer.fresh(generator))

    def fit(self, weights: Sequence[Tensor]) -> None:
        """Start as near to given weights, one per slot, as the recipe can."""
        self.take(self._composer.fit(weights))

    def pull_back(self, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Return the gradients of all parameters, in the order of `parameters()`."""
        of_templates, of_mixing = self._composer.pull_back(
            list(self.templates), self._mixing, gradients
        )
        of_coefficients = []
        for index, alpha in enumerate(self._coefficients()):
            if alpha is not None:
                scaled = of_mixing[index] * self._gain(index)
                rows = self._rows[index].to(alpha.device)
                summed = scaled.new_zeros(len(alpha) + 1, alpha.shape[1])
                of_coefficients.append(summed.index_add_(0, rows, scaled)[:-1])
        return of_templates + of_coefficients

    def forward(self) -> tuple[Tensor, ...]:
        """Return the weights of all slots, connected to the banks where gradients are wanted."""
        self.weights()
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters()):
            return cast(tuple[Tensor, ...], _Compose.apply(self, *self.parameters()))
        return tuple(self._weights)


def _show_to_kernels(modules: Iterable[nn.RNNBase]) -> None:
    """Renew the list of its weights that a recurrent layer keeps: forward reads nothing else."""
    for module in modules:
        names = module._flat_weights_names
        module.__dict__["_flat_weights"] = [getattr(module, name) for name in names]


class SharedModel(nn.Module):
    """Networks whose layers read banks. Train it as any other module.

    Attributes:
        plan: what shares what.
        extra: whatever was saved beside the weights; JSON.
    """

    def __init__(self, networks: Mapping[str, nn.Module], plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.extra: dict[str, Any] = {}
        self.network_names = tuple(networks)
        self.networks = nn.ModuleList(networks.values())
        self.groups = nn.ModuleDict({group.name: SharedGroup(group) for group in plan.groups})
        self._targets = [
            [self._release(slot.network, slot.layer) for slot in group.slots]
            for group in plan.groups
        ]
        targets = itertools.chain.from_iterable(self._targets)
        self._recurrent = {m: None for m, _ in targets if isinstance(m, nn.RNNBase)}

    def _release(self, network: str, layer: str) -> tuple[nn.Module, str]:
        """Take a layer's parameter away, so that a plain tensor can stand in its place."""
        path, _, attribute = layer.rpartition(".")
        module = self.network(network).get_submodule(path)
        del module._parameters[attribute]
        return module, attribute

    def network(self, name: str) -> nn.Module:
        """Return one network by name; UnknownNameError if the plan has none of that name."""
        if name not in self.network_names:
            near = registry.nearest(str(name), self.network_names)
            raise UnknownNameError("network", name, self.network_names, near)
        return self.networks[self.network_names.index(name)]

    def train(self, mode: bool = True) -> "SharedModel":
        """Change the mode; weights are composed anew, whatever was done to the banks by hand."""
        for group in self.groups.values():
            cast(SharedGroup, group).forget()
        return super().train(mode)

    def compose(self) -> None:
        """Put the current weights in place; `forward` and `members` do it by themselves.

        Composed anew after an optimiser's step, an in-place change, `load_state_dict`, `to`,
        `train` or `eval`. A change through `.data` is not seen: call `eval()` or `train()`
        after it.
        """
        for shared, targets in zip(self.groups.values(), self._targets, strict=True):
            for (module, attribute), weight in zip(targets, shared(), strict=True):
                module.__dict__[attribute] = weight
        _show_to_kernels(self._recurrent)

    def members(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits (B, classes) of every network for images (B, channels, H, W)."""
        self.compose()
        return {
            name: network(x)
            for name, network in zip(self.network_names, self.networks, strict=True)
        }

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits of a lone network, or those of every network by name."""
        logits = self.members(x)
        return logits if len(logits) > 1 else next(iter(logits.values()))

    def materialise(self) -> dict[str, nn.Module]:
        """Return plain networks with the same weights, by name; the banks are left behind."""
        with torch.no_grad():
            self.compose()
        plain = copy.deepcopy(self)
        for group, targets in zip(plain.plan.groups, plain._targets, strict=True):
            for (module, attribute), slot in zip(targets, group.slots, strict=True):
                weight = module.__dict__.pop(attribute).view(slot.shape)
                module.register_parameter(attribute, nn.Parameter(weight.clone()))
        _show_to_kernels(plain._recurrent)
        return dict(zip(plain.network_names, plain.networks, strict=True))

    def regroup(self, plan: Plan) -> "SharedModel":
        """Return the same networks under another plan, as near to the current weights as it can.

        Layers that become private keep their exact weight; banks are fitted by truncated SVD,
        which is the nearest choice for a group of one shape. Norms and biases are kept. The
        model itself is left as it is.

        Raises:
            PlanError: this is no plan, or it is for other networks.
        """
        check_plan(plan)
        plain = self.materialise()
        shared = share(plain, plan, fit=True)
        shared.extra = dict(self.extra)
        for module in (shared, shared.networks, *shared.groups.modules()):
            module.training = self.training
        return shared

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedModel":
        """Copy; composed weights still tied to a graph are replaced by their values first."""
        with torch.no_grad():
            self.compose()
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


def check_shared(model: object) -> None:
    """Check that this is a network whose layers read banks.

    Raises:
        InvalidSpecError: it is anything else; the message says how to come by one.
    """
    if isinstance(model, SharedModel):
        return
    kind = type(model).__name__
    given = f"a plain {kind} module" if isinstance(model, nn.Module) else f"a {kind}"
    advice = (
        "make one with npas.share(npas.build(...), npas.plan(...)), or read one with npas.load, "
        "not materialised"
    )
    if isinstance(model, Plan):
        advice = "put it into effect with npas.share(npas.build(...), plan)"
    elif isinstance(getattr(model, "model", None), SharedModel):
        advice = "give its .model"
    raise InvalidSpecError(f"this is {given}, not a shared network; {advice}")


def share(
    networks: nn.Module | Mapping[str, nn.Module], plan: Plan, *, seed: int = 0, fit: bool = False
) -> SharedModel:
    """Make networks share parameters as a plan says.

    The modules are taken over, not copied. Private layers, norms and biases keep their values.

    Args:
        networks: one module for a plan of one network, else modules by network name; built from
            the plan's own architectures.
        plan: from `npas.plan`.
        seed: for fresh banks.
        fit: start the banks from the networks' current weights instead of fresh.

    Raises:
        PlanError: this is no plan, or it does not fit these networks.
        InvalidSpecError: the networks are no modules, or share already.

    Example:
        >>> import npas, torch
        >>> plan = npas.plan("resnet-8", budget=50_000, method="superweights")
        >>> net = npas.share(npas.build("resnet-8"), plan)
        >>> sum(p.numel() for p in net.parameters()) == plan.ledger.total
        True
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    check_plan(plan)
    named = named_as_planned(networks, plan)
    check_coverage(named, plan)
    weights = [
        [named[slot.network].get_parameter(slot.layer).detach() for slot in group.slots]
        for group in plan.groups
    ]
    # Banks are made on the CPU, whatever the default device: a seed gives the same everywhere.
    with torch.device("cpu"), torch.no_grad():
        model = SharedModel(named, plan)
        generator = torch.Generator().manual_seed(seed)
        for group, old in zip(plan.groups, weights, strict=True):
            shared = cast(SharedGroup, model.groups[group.name]).to(old[0].dtype)
            device = old[0].device
            if fit:
                shared.fit([weight.cpu() for weight in old])
            else:
                shared.start(generator)
            shared.to(device)
    return model
