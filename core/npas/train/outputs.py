"""What a user's module is trained to do: its loss, and how often its answer is right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from npas.errors import DataError, InvalidSpecError
from npas.tasks import loss as cross_entropy
from npas.tasks import mean_log_probs
from npas.train.evaluate import Tensors, network_names

Loss = Callable[[Any, Tensor], Tensor]
"""What the module returned and the labels -> a scalar, the mean over examples."""

IGNORED = -100
"""The label that torch's losses leave out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Scores a module on a batch; see `npas.train.objective` for networks of our own.

    Attributes:
        loss: of the user; None: cross-entropy of classes.
        smoothing: of the labels, of cross-entropy.
        precision: float32, or bfloat16 for mixed precision.
        class_weights: how often each class counts, see `npas.train.balance`; None: once.
    """

    loss: Loss | None
    smoothing: float
    precision: torch.dtype
    class_weights: Tensor | None = None

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensors,
        labels: Tensors,
        names: Sequence[str] | None = None,  # noqa: ARG002 - all take part
    ) -> tuple[Tensor, Tensor]:
        """Return the loss, of several networks the sum, and the right answers of all answers.

        Args:
            model: of the user, sharing or not.
            inputs: of forward, by name, or by position as "0", "1", ...
            labels: a tensor.
            names: of networks; not looked at.

        Returns:
            the loss, and float64 `(2,)`, zeros where an answer is not right or wrong.
        """
        assert isinstance(labels, Tensor)
        given = {"0": inputs} if isinstance(inputs, Tensor) else inputs
        where = labels.device
        with torch.autocast(where.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            outputs = _outputs(model, given)
            if self.loss is not None:
                total = sum((self._own(each, labels) for each in outputs.values()), start=0.0)
        if self.loss is None:
            total = sum((self._classes(each, labels) for each in outputs.values()), start=0.0)
        assert isinstance(total, Tensor)
        with torch.no_grad():
            return total, _right(list(outputs.values()), labels)

    def _own(self, outputs: Any, labels: Tensor) -> Tensor:
        assert self.loss is not None
        found = self.loss(outputs, labels)
        if not isinstance(found, Tensor) or found.numel() != 1:
            shape = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
            raise InvalidSpecError(
                f"loss returned a {type(found).__name__} {shape}: return one number, the mean "
                "over examples, as a tensor"
            )
        return found.reshape(()).float()

    def _classes(self, outputs: Any, labels: Tensor) -> Tensor:
        logits = logits_of(outputs)
        if logits is None or not _fit(logits, labels):
            shape = tuple(logits.shape) if logits is not None else f"a {type(outputs).__name__}"
            raise InvalidSpecError(
                f"the module returns {shape} for labels {labels.dtype} {tuple(labels.shape)}: "
                "classes want logits (N, K, ...) and whole numbers (N, ...); for anything else "
                "give loss=, such as torch.nn.functional.mse_loss"
            )
        wrong = (labels < 0) & (labels != IGNORED) | (labels >= logits.shape[1])
        if wrong.any():
            raise DataError(
                f"label {int(labels[wrong][0])} is no class of {logits.shape[1]}: give 0 to "
                f"{logits.shape[1] - 1}"
            )
        return cross_entropy(logits, labels, smoothing=self.smoothing, weights=self.class_weights)


def logits_of(outputs: Any) -> Tensor | None:
    """Return the logits among what a module returned: itself, or its `logits`; else None."""
    found = outputs if isinstance(outputs, Tensor) else getattr(outputs, "logits", None)
    return found if isinstance(found, Tensor) else None


def _outputs(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    if len(network_names(model)) > 1:
        if list(inputs) != ["0"]:
            raise InvalidSpecError(
                "several networks are trained on one input that all of them read; this is "
                f"{', '.join(inputs)}"
            )
        members: Any = model
        return dict(members.members(inputs["0"]))
    positional = [each for name, each in inputs.items() if name.isdigit()]
    named = {name: each for name, each in inputs.items() if not name.isdigit()}
    return {"main": model(*positional, **named)}


def _fit(logits: Tensor, labels: Tensor) -> bool:
    """Return whether labels are classes of logits, which have them along dimension 1."""
    is_whole = not labels.is_floating_point() and not labels.is_complex()
    return logits.dim() > 1 and is_whole and _without_classes(logits) == labels.shape


def _without_classes(logits: Tensor) -> torch.Size:
    return torch.Size((logits.shape[0], *logits.shape[2:]))


def _right(outputs: Sequence[Any], labels: Tensor) -> Tensor:
    """Return the right answers and all answers, by the mean probability of the networks."""
    logits = [logits_of(each) for each in outputs]
    named = {str(i): each for i, each in enumerate(logits) if each is not None}
    if len(named) < len(outputs) or not all(_fit(each, labels) for each in named.values()):
        return torch.zeros(2, dtype=torch.float64, device=labels.device)
    said, counted = mean_log_probs(named).argmax(dim=1), labels != IGNORED
    return torch.stack([((said == labels) & counted).sum(), counted.sum()]).double()
