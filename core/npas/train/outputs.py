"""What a user's module is trained to do: its loss, and how often its answer is right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from npas.errors import DataError, InvalidSpecError, NpasError
from npas.spec import DistillationSpec
from npas.tasks import loss as cross_entropy
from npas.tasks import mean_log_probs
from npas.train.evaluate import Tensors, network_names
from npas.train.teacher import distilled

Loss = Callable[[Any, Tensor], Tensor]
"""What the module returned and the labels -> a scalar, the mean over examples."""

_OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)

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
        teacher: whose classes are learned too, in evaluation mode; None: nobody's.
        distillation: how, of its temperature and weight.
        are_mixed: whether labels are shares of the classes, of inputs that are mixed.
    """

    loss: Loss | None
    smoothing: float
    precision: torch.dtype
    class_weights: Tensor | None = None
    teacher: nn.Module | None = None
    distillation: DistillationSpec = field(default_factory=DistillationSpec)
    are_mixed: bool = False

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
            labels: a tensor; of inputs that are mixed, shares of the classes, float `(N, K)`.
            names: of networks; not looked at.

        Returns:
            the loss, and float64 `(2,)`, zeros where an answer is not right or wrong.
        """
        assert isinstance(labels, Tensor)
        given = {"0": inputs} if isinstance(inputs, Tensor) else inputs
        where = labels.device
        with torch.autocast(where.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            outputs = outputs_of(model, given)
            said = self._said(given)
            if self.loss is not None:
                total = sum((self._own(each, labels) for each in outputs.values()), start=0.0)
        if self.loss is None:
            losses = (self._classes(each, labels, said) for each in outputs.values())
            total = sum(losses, start=0.0)
        assert isinstance(total, Tensor)
        is_learned = any(each.requires_grad for each in model.parameters())
        if torch.is_grad_enabled() and is_learned and not total.requires_grad:
            raise InvalidSpecError(
                "no gradient comes from the loss to the module: neither forward nor loss may "
                "detach what they return, or run under torch.no_grad()"
            )
        with torch.no_grad():
            right = labels.argmax(dim=1) if self.are_mixed else labels
            return total, _right(list(outputs.values()), right)

    def _own(self, outputs: Any, labels: Tensor) -> Tensor:
        assert self.loss is not None
        try:
            found = self.loss(outputs, labels)
        except _OUT_OF_MEMORY:
            raise
        except Exception as error:  # it is the user's: it may raise anything
            raise InvalidSpecError(
                f"loss does not run on {_shown(outputs)} from the module and labels "
                f"{_shown(labels)} ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(found, Tensor) or found.numel() != 1:
            shape = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
            raise InvalidSpecError(
                f"loss returned a {type(found).__name__} {shape}: return one number, the mean "
                "over examples, as a tensor"
            )
        return found.reshape(()).float()

    @torch.no_grad()
    def _said(self, given: Mapping[str, Tensor]) -> Tensor | None:
        """Return the log-probabilities of the teacher; None without one."""
        if self.teacher is None:
            return None
        outputs = outputs_of(self.teacher, given, "the teacher")
        logits = {name: logits_of(each) for name, each in outputs.items()}
        found = {name: each for name, each in logits.items() if each is not None}
        if len(found) < len(logits):
            raise InvalidSpecError(
                f"the teacher returns {_shown(next(iter(outputs.values())))}: give one that "
                "returns logits (N, K, ...)"
            )
        return mean_log_probs(found, temperature=self.distillation.temperature)

    def _classes(self, outputs: Any, labels: Tensor, said: Tensor | None) -> Tensor:
        logits = logits_of(outputs)
        whole = labels.argmax(dim=1) if self.are_mixed else labels
        if logits is None or not _fit(logits, whole):
            raise InvalidSpecError(
                f"the module returns {_shown(outputs)} for labels {_shown(whole)}: "
                "classes want logits (N, K, ...) and whole numbers (N, ...); for anything else "
                "give loss=, such as torch.nn.functional.mse_loss"
            )
        if self.are_mixed:
            largest = labels.shape[1] - 1
            wrong = [largest] if largest >= logits.shape[1] else []
            wanted = pad(labels, (0, max(0, logits.shape[1] - labels.shape[1])))
        else:
            outside = (labels < 0) & (labels != IGNORED) | (labels >= logits.shape[1])
            wrong, wanted = labels[outside][:1].tolist(), labels
        if wrong:
            raise DataError(
                f"label {wrong[0]} is no class of {logits.shape[1]}: give 0 to "
                f"{logits.shape[1] - 1}"
            )
        own = cross_entropy(
            logits, wanted, smoothing=self.smoothing, weights=self._weights(logits)
        )
        if said is None:
            return own
        if said.shape != logits.shape:
            raise InvalidSpecError(
                f"the teacher returns {tuple(said.shape)}, and the module {tuple(logits.shape)}: "
                "give a teacher of the same classes"
            )
        return distilled(own, logits, said, self.distillation)

    def _weights(self, logits: Tensor) -> Tensor | None:
        """Return the weights of all classes; those that no label to train on has count 0."""
        known = self.class_weights
        return None if known is None else pad(known, (0, logits.shape[1] - len(known)))


def logits_of(outputs: Any) -> Tensor | None:
    """Return the logits among what a module returned: itself, or its `logits`; else None."""
    found = outputs if isinstance(outputs, Tensor) else getattr(outputs, "logits", None)
    return found if isinstance(found, Tensor) else None


def outputs_of(
    model: nn.Module, inputs: Mapping[str, Tensor], who: str = "the module"
) -> dict[str, Any]:
    """Return what a module's forward returns, of several networks of each, by name.

    Args:
        model: of the user.
        inputs: of forward, by name, or by position as "0", "1", ...
        who: it is, for messages.

    Raises:
        InvalidSpecError: it does not run on these inputs.
    """
    is_several = len(network_names(model)) > 1
    if is_several and list(inputs) != ["0"]:
        raise InvalidSpecError(
            "several networks are trained on one input that all of them read; this is "
            f"{', '.join(inputs)}"
        )
    positional = [each for name, each in inputs.items() if name.isdigit()]
    named = {name: each for name, each in inputs.items() if not name.isdigit()}
    members: Any = model
    try:
        if is_several:
            return dict(members.members(inputs["0"]))
        return {"main": model(*positional, **named)}
    except (NpasError, *_OUT_OF_MEMORY):
        raise
    except Exception as error:  # it is the user's: it may raise anything
        told = ", ".join(f"{name}: {_shown(each)}" for name, each in inputs.items())
        weight = next(iter(model.parameters()), None)
        own = "" if weight is None else f", with weights {weight.dtype} on {weight.device}"
        raise InvalidSpecError(
            f"{who} does not run on inputs {told}{own} ({type(error).__name__}: {error}); give "
            'what its forward takes, by position as (x, y) or by name as {"x": x}'
        ) from error


def _shown(value: object) -> str:
    """Return in words what a tensor is, or that something is none."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    logits = logits_of(value)
    return f"a {type(value).__name__}" + (f" of {_shown(logits)}" if logits is not None else "")


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
