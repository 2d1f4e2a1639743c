"""share(): put a plan into effect. Networks go in, a module that reads its banks comes out.

The networks underneath see plain tensors, composed group by group; see `npas.sharing.group`.
"""

import copy
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from npas import registry
from npas.arch.footprint import macs_of
from npas.arch.own.copying import copied
from npas.arch.own.refusal import GENERATED
from npas.ensembles.anytime import Anytime
from npas.ensembles.ensemble import Ensemble
from npas.ensembles.ladder import LADDER, Ladder, by_cost, ladder_of
from npas.ensembles.reading import Reading
from npas.errors import InvalidSpecError, UnknownNameError
from npas.plans import Plan, check_plan
from npas.sharing.checks import (
    check_coverage,
    check_finite,
    check_own,
    check_unheld,
    named_as_planned,
)
from npas.sharing.group import SharedGroup
from npas.sharing.origin import Origin
from npas.sharing.structure import check_structure
from npas.torch_internals import COMPILED, parameters_of, show_weights_to_kernels

OF_ALL = ("accuracy", LADDER)
"""What a file says of all its networks together, and of none by itself."""


class SharedModel(nn.Module):
    """Networks whose layers read banks. Train it as any other module.

    Attributes:
        plan: what shares what.
        extra: whatever was saved beside the weights; JSON.
        origin: where its weights come from.
        network_names: all of them, in the order of the plan.
        active: the networks that are run where no others are asked for; all, unless some have
            joined later and are trained alone.
    """

    def __init__(self, networks: Mapping[str, nn.Module], plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.extra: dict[str, Any] = {}
        self.origin = Origin()
        self.network_names = tuple(networks)
        self.active = self.network_names
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
        del parameters_of(module)[attribute]
        vars(module)[GENERATED] = True
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
        `train` or `eval`. What writes into a parameter's memory behind PyTorch's back is not
        seen: `.data`, a NumPy view, `torch.distributed.broadcast`, a vector once
        `vector_to_parameters` has made the parameters views of it. Call `eval()` or `train()`
        after it.

        Threads may run one network at once if all of them want gradients or none does; else give
        each kind a copy, because all put their weights into the same modules.
        """
        for shared, targets in zip(self.groups.values(), self._targets, strict=True):
            for (module, attribute), weight in zip(targets, shared(), strict=True):
                module.__dict__[attribute] = weight
        for module in self._recurrent:
            show_weights_to_kernels(module)

    def members(
        self, x: Tensor | Mapping[str, Tensor], names: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Return the logits (B, classes) of networks for images (B, channels, H, W), by name.

        Args:
            x: images for all of them, or for each network of `names` its own.
            names: the networks to run; None: those that are active. The others cost no time, and
                what only they read gets no gradient.

        Raises:
            UnknownNameError: the plan has no network of a name.
        """
        _composing()(self)
        return self._of_several(x, names)

    def _of_several(
        self, x: Tensor | Mapping[str, Tensor], names: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Return what networks say, see `members`, with the weights that are in place."""
        return {
            name: self.network(name)(x if isinstance(x, Tensor) else x[name])
            for name in (self.active if names is None else names)
        }

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what a lone active network returns, or the logits of all active ones by name.

        Args:
            *inputs: what the lone network's forward takes; of several, images as for `members`.
            **named: likewise, by name.
        """
        _composing()(self)  # here and not in members, where it would break two frames for one
        if len(self.active) == 1:
            return self.network(self.active[0])(*inputs, **named)
        return self._of_several(*inputs, **named)

    def member(self, name: str) -> "SharedModel":
        """Return one network by itself, with copies of what it reads and as little else as can be.

        Its weights are those that it has here, up to the rounding of a matrix product of fewer
        rows. `npas.save` makes a file of it. Where the plan is of a budget in bytes,
        so is the member's, with the limit of the whole: if its weights are rounded anew for its
        file, that is within this limit, so that give `bytes=` for a smaller one.

        Raises:
            UnknownNameError: the plan has no network of that name.
        """
        from npas.sharing import membership  # which makes shared models

        return membership.member(self, name)

    def ensemble(self, names: Sequence[str] | None = None) -> Ensemble:
        """Return networks that answer together, by the mean of their probabilities.

        Nothing is copied. The mode is that of this model.

        Args:
            names: of the networks; None: all.

        Raises:
            InvalidSpecError: no name is given.
            UnknownNameError: the plan has no network of a name.
        """
        return Ensemble(self._readings(self.network_names if names is None else names))

    def anytime(self, ladder: Ladder | None = None) -> Anytime:
        """Return a predictor that answers early, and better the longer it may go on.

        Args:
            ladder: which network is asked when; None: the file's, which held-out images chose, or
                from cheap to dear where there is none. `npas.ensembles.choosing.chosen` makes
                one.

        Raises:
            InvalidSpecError: the ladder has networks that are not here, or the file's is none.
        """
        macs = macs_of(self.plan.networks)
        found = ladder or ladder_of(self.extra) or by_cost(macs)
        return Anytime(self._readings(self.network_names), found, macs)

    def _readings(self, names: Sequence[str]) -> dict[str, nn.Module]:
        """Return networks that stay where they are, by name, in the order of the plan."""
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise InvalidSpecError("give the name of at least one network")
        for name in names:
            self.network(name)
        chosen = [name for name in self.network_names if name in names]
        return {name: Reading(self, name) for name in chosen}

    def materialise(self) -> dict[str, nn.Module]:
        """Return plain networks with the same weights, by name; the banks are left behind.

        Weights that only frozen banks make are frozen.
        """
        with torch.no_grad():
            self.compose()
        plain = copied(self)
        is_trained = {
            name: any(p.requires_grad for p in group.parameters())
            for name, group in self.groups.items()
        }
        for group, targets in zip(plain.plan.groups, plain._targets, strict=True):
            for (module, attribute), slot in zip(targets, group.slots, strict=True):
                weight = module.__dict__.pop(attribute).view(slot.shape).clone()
                vars(module).pop(GENERATED, None)
                module.register_parameter(attribute, nn.Parameter(weight, is_trained[group.name]))
        for module in plain._recurrent:
            show_weights_to_kernels(module)
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
        shared.extra, shared.active = dict(self.extra), self.active
        for module in (shared, shared.networks, *shared.groups.modules()):
            module.training = self.training
        return shared

    def _replicate_for_data_parallel(self) -> "SharedModel":
        """Refuse: replicas would all read the weights that lie on the first device."""
        raise InvalidSpecError(
            "nn.DataParallel copies modules, and the copies of a shared network would not read "
            "banks of their own: train with torch.nn.parallel.DistributedDataParallel, one "
            "process for each device; to evaluate, give it a plain network from materialise()"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedModel":
        """Copy; composed weights still tied to a graph are replaced by their values first."""
        with torch.no_grad():
            self.compose()
        for module in self.modules():  # what a pruned layer keeps of its last call, likewise
            for value in vars(module).values():
                if isinstance(value, Tensor) and not value.is_leaf:
                    memo[id(value)] = value.detach().clone()
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


def _composing() -> Callable[[SharedModel], None]:
    """Return `SharedModel.compose`, which stays outside where a graph is made of its caller.

    It is looked up by a call, so that the graph breaks in the caller's frame and in no other.
    """
    if torch.compiler.is_dynamo_compiling():
        from npas.sharing.graphs import composed_outside  # imports the compiler

        return composed_outside
    return SharedModel.compose


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
    elif path := _path_to_shared(model):
        advice = f"give its {path}"
    raise InvalidSpecError(f"this is {given}, not a shared network; {advice}")


def _path_to_shared(model: object) -> str:
    """Return where in a wrapper the shared network is, as `.module._orig_mod`; "" if nowhere."""
    for name in ("model", "module", COMPILED):
        inner = getattr(model, name, None)
        if isinstance(inner, SharedModel):
            return f".{name}"
        if isinstance(inner, nn.Module) and (path := _path_to_shared(inner)):
            return f".{name}{path}"
    return ""


def share(
    networks: nn.Module | Mapping[str, nn.Module], plan: Plan, *, seed: int = 0, fit: bool = False
) -> SharedModel:
    """Make networks share parameters as a plan says.

    The modules are taken over, not copied. Private layers, norms and biases keep their values.
    Frozen parameters stay so, and banks that only frozen layers read are frozen.

    Args:
        networks: one module for a plan of one network, else modules by network name; built from
            the plan's own architectures, or of the user's own, as they were planned.
        plan: from `npas.plan`.
        seed: an integer, for fresh banks.
        fit: start the banks from the networks' current weights instead of fresh.

    Raises:
        PlanError: this is no plan, or it does not fit these networks.
        InvalidSpecError: the networks are no modules, or share already, or the seed is no integer.

    Example:
        >>> import npas, torch
        >>> plan = npas.plan("resnet-8", budget=50_000, method="superweights")
        >>> net = npas.share(npas.build("resnet-8"), plan)
        >>> sum(p.numel() for p in net.parameters()) == plan.ledger.total
        True
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    named = checked(networks, plan)
    if fit:
        check_finite(named, (slot.key for group in plan.groups for slot in group.slots))
    try:
        number = operator.index(seed)
    except TypeError:
        raise InvalidSpecError(f"seed is {seed!r}: give an integer") from None
    return shared(named, plan, seed=number, fit=fit)


def checked(networks: nn.Module | Mapping[str, nn.Module], plan: Plan) -> dict[str, nn.Module]:
    """Return networks by name, in the order of the plan; raises what `share` does."""
    check_plan(plan)
    named = named_as_planned(networks, plan)
    check_own(named, plan)
    check_coverage(named, plan)
    check_unheld(named, plan)
    check_structure(named, plan)
    return named


def shared(
    named: Mapping[str, nn.Module], plan: Plan, *, seed: int = 0, fit: bool = False
) -> SharedModel:
    """Make modules share, whatever they are: `share` without its checks.

    Args:
        named: modules by network name, in the order of the plan, that have the plan's layers.
        plan: as for `share`.
        seed: as for `share`.
        fit: as for `share`.
    """
    weights = [
        [named[slot.network].get_parameter(slot.layer) for slot in group.slots]
        for group in plan.groups
    ]
    # Banks are made on the CPU, whatever the default device: a seed gives the same everywhere.
    with torch.device("cpu"), torch.no_grad():
        model = SharedModel(named, plan)
        generator = torch.Generator().manual_seed(seed)
        for group in plan.groups:
            old = weights.pop(0)  # let go of, group by group
            banks = cast(SharedGroup, model.groups[group.name]).to(old[0].dtype)
            device = old[0].device
            if fit:
                banks.fit([weight.detach().cpu() for weight in old])
            else:
                banks.initialise(generator)
            banks.layout().follow(old)
            banks.to(device).requires_grad_(any(weight.requires_grad for weight in old))
    return model
