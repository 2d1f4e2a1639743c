"""How alike the layers of a group are: the layer similarity matrix, once or over a training.

Source: Savarese & Maire, ICLR 2019, section 3 and poster: |cosine| of the layers' coefficients.
Templates M T with coefficients alpha M^-1 make the same network for every invertible M, but have
other cosines. So here the default is |cosine| of the layers' weights, which needs no choice of M;
for orthonormal templates both are the same. The paper's own is there under "coefficients".
"""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize

from npas.errors import InvalidSpecError
from npas.plans import Group, Plan
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel, check_shared
from npas.sharing.precision import own_precision

Of = Literal["weights", "coefficients"]
"""What to compare."""

MOST_GROUPS = 8
"""Groups that are recorded over a training, those of the most layers."""

MOST_LAYERS = 32
"""Layers of a group that are recorded, the first ones."""

_CHUNK = 1 << 16  # columns that are widened to float64 at a time
_STATE = "similarity/"


def similarity(model: SharedModel, *, of: Of = "weights") -> dict[str, Tensor]:
    """Return how alike the layers of each group are.

    Args:
        model: from `npas.share` or `npas.load`.
        of: "weights", or "coefficients" for the paper's matrix, which depends on how the
            templates happen to be scaled and mixed.

    Returns:
        for each group of at least two layers of one shape, float64 (L, L), symmetric, 0 to 1, 1 on
        the diagonal, in the order of the group's slots. With "coefficients", only groups of one
        bank that has some.

    Raises:
        InvalidSpecError: the model is not a shared network, or `of` is neither.

    Example:
        >>> import npas
        >>> plan = npas.plan("wrn-16-1", method="soft_sharing", templates=1)
        >>> model = npas.share(npas.build("wrn-16-1"), plan)
        >>> [round(value, 6) for value in npas.similarity(model)["g0"].flatten().tolist()]
        [1.0, 1.0, 1.0, 1.0]
    """
    check_shared(model)
    if of not in ("weights", "coefficients"):
        raise InvalidSpecError(f"similarity of {of!r}: give weights or coefficients")
    found = {}
    with torch.no_grad():
        for group in comparable(model.plan):
            shared = cast(SharedGroup, model.groups[group.name])
            if of == "weights":
                found[group.name] = similarity_of(shared.weights())
            elif has_own_rows(group):
                cosine = cosine_of_coefficients(group, shared).abs().double().cpu()
                found[group.name] = cosine.clamp(max=1).fill_diagonal_(1)
    return found


def comparable(plan: Plan) -> list[Group]:
    """Return the groups of at least two layers that are all of one shape."""
    return [
        group
        for group in plan.groups
        if len(group.slots) > 1 and len({slot.shape for slot in group.slots}) == 1
    ]


def gram_of(weights: Sequence[Tensor]) -> Tensor:
    """Return the inner products of weights of one shape, float64 (L, L), on the CPU."""
    rows = [weight.detach().reshape(-1) for weight in weights]
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for start in range(0, len(rows[0]), _CHUNK):
        part = torch.stack([row[start : start + _CHUNK] for row in rows]).double()
        gram += (part @ part.t()).cpu()
    return gram


def similarity_of(weights: Sequence[Tensor]) -> Tensor:
    """Return |cosine| of weights of one shape, float64 (L, L); 0 beside a weight of zeros."""
    return cosine_of_gram(gram_of(weights)).abs()


def cosine_of_gram(gram: Tensor) -> Tensor:
    """Return the cosines that belong to inner products; 0 beside a weight of zeros, else 1."""
    length = gram.diagonal().sqrt()
    cosine = gram / torch.outer(length, length).clamp(min=1e-300)
    return cosine.clamp(min=-1, max=1).fill_diagonal_(1)


def has_own_rows(group: Group) -> bool:
    """Return whether each layer is one row of coefficients over templates of its shape."""
    bank = group.banks[0]
    return (
        len(group.banks) == 1
        and bank.rows > 0
        and all(slot.shape == bank.shape and slot.rows[0] is not None for slot in group.slots)
    )


@own_precision()
def cosine_of_coefficients(group: Group, shared: SharedGroup) -> Tensor:
    """Return the cosines of the layers' coefficients (L, L), differentiable."""
    rows = [slot.rows[0] or 0 for slot in group.slots]
    unit_LK = normalize(cast(Tensor, shared.coefficients[0])[rows], dim=1)
    return unit_LK @ unit_LK.t()


class History:
    """The similarity matrices of a training, epoch by epoch.

    Attributes:
        epochs: that were recorded; 0 is before the first.
        matrices: of each recorded group, one per epoch, float32 (L, L) of its first layers.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.matrices: dict[str, list[Tensor]] = {}
        self._readers: list[tuple[str, list[str]]] = []

    def record(self, model: SharedModel, epoch: int) -> None:
        """Add an epoch; a plan with other groups than before begins anew."""
        if _readers(model.plan) != self._readers:
            self.epochs, self.matrices, self._readers = [], {}, _readers(model.plan)
        widest = sorted(comparable(model.plan), key=lambda group: -len(group.slots))[:MOST_GROUPS]
        with torch.no_grad():
            for group in (group for group in model.plan.groups if group in widest):
                weights = cast(SharedGroup, model.groups[group.name]).weights()[:MOST_LAYERS]
                self.matrices.setdefault(group.name, []).append(similarity_of(weights).float())
        self.epochs.append(epoch)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state that `restore` reads, for a resume file."""
        if not self.epochs:
            return {}
        found = {f"{_STATE}{name}": torch.stack(list_) for name, list_ in self.matrices.items()}
        return {**found, f"{_STATE}epochs": torch.tensor(self.epochs)}

    def restore(self, plan: Plan, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what a resume file holds.

        Args:
            plan: that was in force.
            tensors: of the file, others among them.
        """
        kept = {n.removeprefix(_STATE): t for n, t in tensors.items() if n.startswith(_STATE)}
        self.epochs = [int(epoch) for epoch in kept.pop("epochs", torch.empty(0))]
        self.matrices = {name: list(stack.unbind()) for name, stack in kept.items()}
        self._readers = _readers(plan)


def _readers(plan: Plan) -> list[tuple[str, list[str]]]:
    """Return which layers each group has: of that alone the matrices are."""
    return [
        (group.name, [f"{slot.network}/{slot.layer}" for slot in group.slots])
        for group in plan.groups
    ]
