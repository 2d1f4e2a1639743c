"""The weights of one group: composed of its banks, given to all who read them, pulled back.

All layers of a group are composed together by hand-written linear algebra, one autograd node per
group, once per optimiser step, and kept while nothing changes. Threads may use a group at once:
they see finished weights only, and while nothing is trained no weight that was given out is
written again.
"""

import contextlib
import copy
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from npas import recipes
from npas.plans import Group
from npas.recipes import BankInit, Part
from npas.recipes._buffers import results_kept
from npas.recipes._start import mixing_matrix, rows_and_gains
from npas.sharing.layout import Layout
from npas.sharing.precision import own_precision
from npas.torch_internals import changes as changes_of

_LAYOUT = "memory_format"


class _Lock:
    """A lock that is copied and pickled as another one, free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["_Lock"], tuple[()]]:
        return _Lock, ()


class _Composed(NamedTuple):
    """What was made of the banks in one state of theirs.

    Attributes:
        changes: of all parameters.
        places: of their memory, and the numbers of axes of weights that are channels-last.
        number: differs where the weights may differ.
        sources: the parameters; while they are kept, no new one can lie where one of them lies.
        mixing: one (M, K) per bank.
        weights: one per slot.
    """

    changes: list[tuple[int, int]]
    places: list[int]
    number: int
    sources: list[Tensor]
    mixing: list[Tensor]
    weights: list[Tensor]


class _Compose(torch.autograd.Function):
    """The weights of one group as one node: values come from the cache, gradients by hand."""

    @staticmethod
    def forward(
        ctx: Any, banks: "SharedGroup", composed: _Composed, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the composed weights as differentiable tensors."""
        ctx.banks, ctx.composed, ctx.parameters = banks, composed, parameters
        ctx.set_materialize_grads(False)  # to tell weights that took no part from gradients of 0
        return tuple(weight.detach() for weight in composed.weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Pull the weights' gradients back to templates and coefficients."""
        composed = ctx.composed
        is_changed = composed.changes != [changes_of(each) for each in ctx.parameters]
        if is_changed or ctx.banks.is_outdated(composed):
            raise RuntimeError(
                "a template or coefficient was changed between forward and backward; "
                "run forward again after the optimiser's step"
            )
        found = zip(
            ctx.banks.pull_back(gradients, composed), ctx.banks.are_read(gradients), strict=True
        )
        return (None, None, *(gradient if is_read else None for gradient, is_read in found))


class SharedGroup(nn.Module):
    """The banks of one group: templates, coefficients, and the weights made of them.

    Attributes:
        templates: one (K, D) parameter per bank.
        coefficients: one (rows, K) parameter per bank that has any.
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self._composer = recipes.find(group.recipe)(group)
        self.add_module(_LAYOUT, Layout([slot.shape for slot in group.slots]))
        self.templates = nn.ParameterList()
        self.coefficients = nn.ParameterList()
        self._has_coefficients = [bank.rows > 0 for bank in group.banks]
        self._gains: list[Tensor] = []
        banks = zip(group.banks, self._composer.readers, strict=True)
        for index, (bank, readers) in enumerate(banks):
            self.templates.append(nn.Parameter(torch.empty(bank.templates, bank.size)))
            if bank.rows:
                self.coefficients.append(nn.Parameter(torch.empty(bank.rows, bank.templates)))
            rows, gains = rows_and_gains(readers, bank.rows)
            self.register_buffer(_rows_name(index), rows, persistent=False)
            self._gains.append(gains)
        self._cast_gains = list(self._gains)
        self._lock = _Lock()  # of the composer, whose calls come one at a time, and of the rest
        self._composed: _Composed | None = None
        self._is_doubted = False
        self._num_composed = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave composed weights out: of another tensor's changes and place they know nothing."""
        return {**self.__dict__, "_composed": None}

    def _coefficients(self) -> list[nn.Parameter | None]:
        """Return one entry per bank, None where it has no coefficients."""
        rest = iter(self.coefficients)
        return [cast(nn.Parameter, next(rest)) if has else None for has in self._has_coefficients]

    def weights(self) -> list[Tensor]:
        """Return the weights of all slots; composed anew only if a parameter has changed."""
        return self._current().weights

    def _current(self) -> _Composed:
        """Return the weights that the banks make as they are now."""
        with self._lock:
            parameters = list(self.parameters())
            changes = [changes_of(each) for each in parameters]
            places = [each.data_ptr() for each in parameters] + sorted(self.layout().ranks())
            last = self._composed
            is_last = last is not None and (changes, places) == (last.changes, last.places)
            if last is not None and is_last and not self._is_doubted:
                return last
            # In a training step nobody needs the last weights any more, and new memory is dear.
            is_kept = is_last or not torch.is_grad_enabled()
            mixing, weights = self._compose(is_kept=is_kept)
            self._num_composed += 1
            number = self._num_composed
            if last is not None and is_last and _are_equal(weights, last.weights):
                number = last.number
            sources = [each.detach() for each in parameters]
            self._composed = _Composed(changes, places, number, sources, mixing, weights)
            self._is_doubted = False
            return self._composed

    def _compose(self, *, is_kept: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return mixing weights and weights, with the last ones kept or written over."""
        memory = results_kept() if is_kept else contextlib.nullcontext()
        # What is composed in an evaluation under inference_mode must serve training too.
        format_ = self.layout().in_use()
        with torch.inference_mode(False), torch.no_grad(), own_precision(), memory, format_:
            mixing = [
                mixing_matrix(alpha, self._rows(index), self._gain(index))
                for index, alpha in enumerate(self._coefficients())
            ]
            weights = self._composer.compose(list(self.templates), mixing)
            return mixing, self.layout().laid(weights)

    def is_outdated(self, composed: _Composed) -> bool:
        """Return whether the same parameters have made other weights since: unseen changes."""
        last = self._composed
        is_same = last is not None and last.places == composed.places
        return last is not None and is_same and last.number != composed.number

    def forget(self) -> None:
        """Compose anew at the next use, whatever has changed."""
        with self._lock:
            self._is_doubted = True

    def layout(self) -> Layout:
        """Return in which memory format the weights are made."""
        return cast(Layout, self.get_submodule(_LAYOUT))

    def matrices(self) -> Sequence[Sequence[recipes.MatrixShape]]:
        """Return for each bank the matrices of a template; none where it has no such form."""
        composer = self._composer
        if isinstance(composer, recipes.OfMatrices):
            return composer.matrices()
        return [()] * len(self.templates)

    def _rows(self, index: int) -> Tensor:
        """Return which rows of a bank's coefficients its readers take, (M,), int64."""
        return self.get_buffer(_rows_name(index))

    def _gain(self, index: int) -> Tensor:
        """Return the readers' gains (M, 1) as the bank's templates are kept."""
        templates, cast_gain = self.templates[index], self._cast_gains[index]
        if (cast_gain.device, cast_gain.dtype) != (templates.device, templates.dtype):
            self._cast_gains[index] = self._gains[index].to(templates)
        return self._cast_gains[index]

    def load(self, starts: Sequence[BankInit]) -> None:
        """Take over values for all banks, one start each."""
        with torch.no_grad():
            for templates, alpha, start in zip(
                self.templates, self._coefficients(), starts, strict=True
            ):
                templates.copy_(start.templates)
                if alpha is not None and start.coefficients is not None:
                    alpha.copy_(start.coefficients)

    def copy_part(self, whole: "SharedGroup", part: Part) -> None:
        """Take over a part of another group's banks, in their precision, frozen as they are.

        Args:
            whole: the other group.
            part: of it; this is the part's group.
        """
        self.to(whole.templates[0])
        self.layout().change(whole.layout().ranks())
        pairs = list(zip(self.templates, self._coefficients(), part.banks, strict=True))
        with torch.no_grad():
            for ours, alpha, (bank, rows, templates, scalars) in pairs:
                theirs = whole.templates[bank]
                ours.copy_(_taken(_taken(theirs, templates), scalars, dim=1))
                ours.requires_grad_(theirs.requires_grad)
                beta = whole._coefficients()[bank]
                if alpha is not None and beta is not None:
                    alpha.copy_(_taken(_taken(beta, rows), templates, dim=1))
                    alpha.requires_grad_(beta.requires_grad)

    def initialise(self, generator: torch.Generator) -> None:
        """Start from random values."""
        with own_precision():
            self.load(self._composer.fresh(generator))

    def fit(self, weights: Sequence[Tensor]) -> None:
        """Start as near to given weights, one per slot, as the recipe can."""
        composer = copy.deepcopy(self._composer)  # whose work space, a copy of all, goes with it
        with own_precision():
            starts = composer.fit(weights)
        self.load(starts)

    def pull_back(
        self, gradients: Sequence[Tensor | None], composed: _Composed | None = None
    ) -> list[Tensor]:
        """Return the gradients of all parameters, in the order of `parameters()`.

        Args:
            gradients: one per slot, None where the weight took no part.
            composed: what they are gradients of; None: what the banks make now.
        """
        made = self._current() if composed is None else composed
        templates = made.sources[: len(self.templates)]
        with own_precision(), self._lock, self.layout().in_use():
            of_templates, of_mixing = self._composer.pull_back(templates, made.mixing, gradients)
            of_coefficients = []
            for index, alpha in enumerate(self._coefficients()):
                if alpha is not None:
                    scaled = of_mixing[index] * self._gain(index)
                    summed = scaled.new_zeros(len(alpha) + 1, alpha.shape[1])
                    of_coefficients.append(summed.index_add_(0, self._rows(index), scaled)[:-1])
        return of_templates + of_coefficients

    def are_read(self, gradients: Sequence[Tensor | None]) -> list[bool]:
        """Return for all parameters, in the order of `parameters()`, if a weight that took part is
        made of them; the others get no gradient, so that no optimiser moves them.

        Args:
            gradients: one per slot, None where the weight took no part.
        """
        templates = [
            any(gradients[reader.slot] is not None for reader in readers)
            for readers in self._composer.readers
        ]
        has = zip(templates, self._has_coefficients, strict=True)
        return templates + [is_read for is_read, has_rows in has if has_rows]

    def forward(self) -> tuple[Tensor, ...]:
        """Return the weights of all slots, connected to the banks where gradients are wanted."""
        composed, parameters = self._current(), list(self.parameters())
        if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
            return cast(tuple[Tensor, ...], _Compose.apply(self, composed, *parameters))
        return tuple(composed.weights)


def _rows_name(index: int) -> str:
    """Return the name of the buffer that holds the rows of a bank's readers."""
    return f"rows_{index}"


def _taken(tensor: Tensor, places: slice | Tensor, *, dim: int = 0) -> Tensor:
    """Return a copy or a view of some places along one dimension of a matrix."""
    if isinstance(places, slice):
        return tensor[:, places] if dim else tensor[places]
    return tensor.index_select(dim, places.to(tensor.device))


def _are_equal(weights: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Return whether weights are the same; those on meta, which hold nothing, always are."""
    pairs = zip(weights, others, strict=True)
    return all(one.is_meta or torch.equal(one, other) for one, other in pairs)
