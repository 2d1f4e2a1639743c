"""Whose parameters, buffers and modules are met while a network runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from npas.arch.graph import stateful
from npas.arch.graph.stateful import Stateful
from npas.errors import UndeclarableError
from npas.torch_internals import BATCH_NORM


class Owners:
    """Names by identity: of the parameters, buffers and modules of a network.

    Args:
        model: the network.

    Raises:
        UndeclarableError: a parameter has two names.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parameters: dict[int, str] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            other = self.parameters.setdefault(id(parameter), name)
            if other != name and not _is_twice(model, other, name):
                raise UndeclarableError(
                    f"{other!r} and {name!r} are one parameter; a graph has one name for each",
                    path=name.rpartition(".")[0],
                )
        self.buffers = {id(buffer): name for name, buffer in model.named_buffers()}
        self.modules = {id(module): name for name, module in model.named_modules()}
        self._misfits: dict[int, str] = {}

    def trains(self, tensor: Tensor) -> bool:
        """Return whether a tensor is a parameter of the network."""
        return id(tensor) in self.parameters

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        path, _, attribute = name.rpartition(".")
        return self.model.get_submodule(path), attribute

    def holder_of(self, parameter: Tensor) -> nn.Module | None:
        """Return the module of torch's that a parameter belongs to, where graphs have its like."""
        module, attribute = self._owner(self.parameters[id(parameter)])
        known = stateful.stateful_of(module)
        if module is self.model or known is None or self.misfit(module, known):
            return None
        return module if attribute in _expected(module, known) else None

    def norm_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module | None:
        """Return the module whose statistics `F.batch_norm` is given; None: there are none."""
        statistics = args[1] if len(args) > 1 else kwargs.get("running_mean")
        if statistics is None:
            return None
        name = self.buffers.get(id(statistics))
        module = self._owner(name)[0] if name else None
        return module if isinstance(module, BATCH_NORM) else None

    def misfit(self, module: nn.Module, known: Stateful) -> str:
        """Return why a module is not simply what torch makes of its settings; "": it is."""
        if id(module) not in self._misfits:
            self._misfits[id(module)] = self._misfit(module, known)
        return self._misfits[id(module)]

    def _misfit(self, module: nn.Module, known: Stateful) -> str:
        if module is self.model:
            return "the network is one module of torch's: put it into a module of yours"
        if module._forward_hooks or module._forward_pre_hooks:
            return "the module has hooks, and a graph has none: remove them first"
        own = dict(module.named_parameters())
        for name, shape in _expected(module, known).items():
            if name not in own or own[name].shape != shape:
                return (
                    f"{name} is not the parameter of {known.op} that it looks like: "
                    "parametrizations are to be removed first"
                )
            if not own[name].requires_grad:
                return f"{name} is frozen; a graph trains all: requires_grad_(True) first"
        return ""


def _is_twice(model: nn.Module, one: str, other: str) -> bool:
    """Return whether two names are those of one module that is registered twice."""
    paths = [name.rpartition(".")[0] for name in (one, other)]
    return model.get_submodule(paths[0]) is model.get_submodule(paths[1])


def _expected(module: nn.Module, known: Stateful) -> dict[str, torch.Size]:
    """Return the parameters that torch makes for the settings of a module."""
    settings = stateful.settings_of(module, known)
    with torch.device("meta"):
        made = stateful.made(known, stateful.checked(known, settings))
    return {name: parameter.shape for name, parameter in made.named_parameters()}
