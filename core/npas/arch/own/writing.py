"""Parameters that a module writes into while it runs: which ones, and their numbers of before."""

from typing import Any

import torch
from torch import Tensor, nn

from npas.arch.own.tensors import place
from npas.torch_internals import OperationMode, parameters_of, written_by


class Writing(OperationMode):  # type: ignore[misc]  # torch has no public name for its class
    """Sees what is written while a module runs, and undoes it at the end.

    Seen are operations in place, those on `.data` among them, another tensor as `.data`, and
    another parameter in the place of one.

    Attributes:
        written: names of the parameters.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.written: set[str] = set()
        self._module = module
        self._own = [(parameters_of(each), dict(parameters_of(each))) for each in module.modules()]
        self._named = dict(module.named_parameters(remove_duplicate=False))
        self._data = {name: each.data for name, each in self._named.items() if each.numel()}
        self._places = {name: place(each) for name, each in self._data.items()}
        self._before: dict[str, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do one operation, after a copy was made of the parameters that it writes into."""
        del types
        for target in written_by(func, args, kwargs or {}):
            if target.layout is torch.strided and target.numel():
                self._note(*place(target))
        return func(*args, **(kwargs or {}))

    def _note(self, memory: str, start: int, end: int) -> None:
        for name, (own, first, last) in self._places.items():
            if own == memory and start < last and first < end and name not in self._before:
                self._before[name] = self._data[name].clone()

    def __exit__(self, *raised: Any) -> None:
        """Put back what was there."""
        super().__exit__(*raised)
        now = dict(self._module.named_parameters(remove_duplicate=False))
        self.written = set(self._before)
        for name, parameter in self._named.items():
            if now.get(name) is not parameter:
                self.written.add(name)
            if name in self._data and place(parameter) != self._places[name]:
                self.written.add(name)
                parameter.data = self._data[name]
        for parameters, before in self._own if self.written else ():
            parameters.clear()
            parameters.update(before)
        for name, numbers in self._before.items():
            self._data[name].copy_(numbers)
