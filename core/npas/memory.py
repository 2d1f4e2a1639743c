"""How much memory a training needs, counted on the meta device: nothing of it is allocated.

Example:
    >>> from npas.memory import estimate
    >>> from npas.spec import JobSpec
    >>> spec = JobSpec.model_validate({
    ...     "architecture": "wrn-28-10", "budget": {"fraction": 0.25}, "dataset": "digits",
    ...     "training": {"precision": "float32"},
    ... })
    >>> estimate(spec).weights
    401267960
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from npas import arch, data
from npas.errors import TooLargeError
from npas.spec import ArchitectureSpec, JobSpec

_BYTES = 4  # of a float32 number


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What one training holds at the same time, in bytes; a lower bound.

    Attributes:
        weights: composed weights with gradients; banks with gradients and the optimiser's memory.
        activations: what the forward pass of one batch keeps for the backward pass.
        dataset: images as they are held.
    """

    weights: int
    activations: int
    dataset: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.activations + self.dataset


def estimate(spec: JobSpec, folder: Path | None = None) -> Memory:
    """Return what the training of a job needs, at least.

    Where the precision is left to the device, activations count as bfloat16: an estimate that is
    too low costs an attempt, one that is too high refuses what would have worked.

    Args:
        spec: the job.
        folder: data folder; None: the default one.
    """
    facts = data.facts(spec.dataset, folder)
    batch = min(spec.training.batch_size, facts.num_train)
    dense = activations = 0
    for member in spec.members():
        resolved = arch.resolve(member.architecture, sizes=facts.sizes)
        model = arch.build(resolved, device="meta").to("meta")
        dense += sum(parameter.numel() for parameter in model.parameters())
        activations += _saved_bytes(model, resolved, batch)
    if spec.training.precision != "float32":
        activations //= 2
    banks = min(spec.budget.resolve(dense), dense)
    moments = 1 if spec.training.optimizer == "sgd" else 2
    pixels = facts.input_channels * facts.input_size**2 * (facts.num_train + facts.num_test)
    return Memory(
        weights=_BYTES * (2 * dense + (2 + moments) * banks),
        activations=activations,
        dataset=pixels,
    )


def require_room(spec: JobSpec, limit_bytes: int, folder: Path | None = None) -> None:
    """Check that a training fits.

    Args:
        spec: the job.
        limit_bytes: memory of the largest device there is.
        folder: data folder; None: the default one.

    Raises:
        TooLargeError: it does not; the message says what to change.
    """
    needed = estimate(spec, folder)
    if needed.total <= limit_bytes:
        return
    batch = spec.training.batch_size
    left = limit_bytes - needed.weights - needed.dataset
    most = left * batch // max(needed.activations, 1)
    is_for_a_batch = most >= 2
    advice = (
        f"set training.batch_size to at most {most:,}"
        if is_for_a_batch
        else "choose a smaller network, or smaller images"
    )
    raise TooLargeError(
        f"the training needs at least {_shown(needed.total)} of memory "
        f"({_shown(needed.activations)} of it for a batch of {batch:,}), the largest device has "
        f"{_shown(limit_bytes)}; {advice}",
        field="/training/batch_size" if is_for_a_batch else "/architecture",
    )


def _shown(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _saved_bytes(model: nn.Module, spec: ArchitectureSpec, batch: int) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, parameters left out."""
    example = arch.example_input(spec, num_examples=1)
    inputs = torch.empty((batch, *example.shape[1:]), dtype=example.dtype, device="meta")
    # Memory on the meta device has no address; what tells it apart is the object that owns it.
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage.nbytes()
        return tensor  # kept alive by the graph, so that no other takes its place

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = model.train()(inputs)
    total = sum(saved.values())
    del outputs
    return total
