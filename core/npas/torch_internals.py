"""What PyTorch does not offer by a public name; a test each says what is relied on."""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OperationMode: type[Any] = TorchDispatchMode
"""A context that is given every operation inside of it, those of composite functions singly."""

BATCH_NORM = nn.modules.batchnorm._BatchNorm
"""The class of all batch normalisations, `SyncBatchNorm` among them."""

NORM_WITH_STATISTICS = nn.modules.batchnorm._NormBase
"""The class of all normalisations that may keep statistics: of batches and of instances."""

COMPILED = "_orig_mod"
"""The attribute of a module from `torch.compile` that holds the one it was made of."""

NOTES_OF_COMPILE = frozenset({"_compiled_call_impl"})
"""Attributes that `module.compile()` leaves on a module; what it computes is the same."""

_FRESH = itertools.count(1)


def changes(parameter: Tensor) -> tuple[int, int]:
    """Return numbers that differ from all earlier ones if a parameter was changed in place.

    Fused optimisers count no versions up, so that their steps are counted here, from the first
    call for a parameter on.
    """
    if parameter.is_inference():
        return next(_FRESH), 0  # such a tensor counts nothing: it may have changed every time
    if not hasattr(parameter, "_npas_steps"):
        _count_steps_of_marked_parameters()
        parameter._npas_steps = 0  # type: ignore[attr-defined]  # the mark
    return version(parameter), parameter._npas_steps  # type: ignore[attr-defined]  # set above


@functools.cache
def _count_steps_of_marked_parameters() -> None:
    """Have all optimisers of this process count their steps on marked parameters, from now on."""
    register_optimizer_step_post_hook(_count_step)


def _count_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            steps = getattr(parameter, "_npas_steps", None)
            if steps is not None:
                parameter._npas_steps = steps + 1


def version(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place, views of it included."""
    return tensor._version


def storage_number(storage: UntypedStorage) -> int:
    """Return a number that no other living storage has, on the meta device too."""
    return int(storage._cdata)


def is_view(operation: Any) -> bool:
    """Return whether an operation, as `OperationMode` gets it, computes nothing."""
    returned = operation._schema.returns
    aliases = [each.alias_info for each in returned]
    return all(alias is not None and not alias.is_write for alias in aliases)


def written_by(operation: Any, args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Return the tensors that an operation, as `OperationMode` gets it, writes into."""
    given = [
        args[index] if index < len(args) else kwargs.get(argument.name)
        for index, argument in enumerate(operation._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """Return a module's own parameters, the dictionary itself: what is deleted there is gone."""
    return module._parameters


def has_gradient_hooks(parameter: Tensor) -> bool:
    """Return whether something is called with a parameter's gradient, or once it is there."""
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module calls a hook before or after forward, or in the backward pass."""
    before, after = module._forward_pre_hooks, module._forward_hooks
    return bool(before or after or module._backward_pre_hooks or module._backward_hooks)


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Return a module's own buffers, the dictionary itself."""
    return module._buffers


def is_kept_in_files(module: nn.Module, buffer: str) -> bool:
    """Return whether a module's own buffer of that name is a part of its state dict."""
    return buffer not in module._non_persistent_buffers_set


def children_of(module: nn.Module) -> dict[str, nn.Module | None]:
    """Return a module's children, the dictionary itself, in which None and order count."""
    return module._modules


def replace_children(module: nn.Module, children: dict[str, nn.Module | None]) -> None:
    """Give a module other children."""
    module._modules = children


def show_weights_to_kernels(module: nn.RNNBase) -> None:
    """Renew the list of its weights that a recurrent layer keeps: forward reads nothing else."""
    names = module._flat_weights_names
    module.__dict__["_flat_weights"] = [getattr(module, name) for name in names]


def versions_of_modules(model: nn.Module) -> Any:
    """Return the versions of the modules of a state dict (its `_metadata`)."""
    return model.state_dict()._metadata  # type: ignore[attr-defined]  # torch hangs it on the dict


def set_versions_of_modules(state: dict[str, Tensor], versions: Any) -> None:
    """Have a state dict, an `OrderedDict`, say of which versions its modules were."""
    state.__dict__["_metadata"] = versions


_NO_MEMORY = ("alloc", "failed to map", "could not create a primitive")
"""Of PyTorch on the CPU and of the system, of the loader of libraries, and of oneDNN."""


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error, or one that it was raised for, says that memory is used up.

    On the CPU PyTorch raises a RuntimeError for that, which exporters turn into others.
    """
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        kinds = (ImportError, OSError, RuntimeError)
        told = isinstance(found, kinds) and any(word in str(found) for word in _NO_MEMORY)
        if told or isinstance(found, MemoryError):
            return True
        found = found.__cause__ or found.__context__
    return False
