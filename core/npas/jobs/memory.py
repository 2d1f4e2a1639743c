"""How much memory a training needs, counted on the meta device: nothing of it is allocated.

Example:
    >>> import npas, npas.data
    >>> from npas.jobs.memory import estimate
    >>> from npas.spec import JobSpec
    >>> spec = JobSpec.model_validate({
    ...     "architecture": "wrn-28-10", "budget": {"fraction": 0.25}, "dataset": "digits",
    ...     "training": {"precision": "float32"},
    ... })
    >>> estimate(spec, npas.plan(spec), npas.data.facts(spec.dataset)).weights
    387587048
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from npas.arch import layer_table
from npas.arch.footprint import footprint
from npas.arch.matching import resolve_for
from npas.data import Facts
from npas.errors import TooLargeError
from npas.jobs.distillation import own_epochs
from npas.jobs.start import is_by_start, is_joining, trained
from npas.plans import Plan
from npas.sharing.restriction import num_read
from npas.spec import JobSpec, NetworkSpec
from npas.train.batches import largest_batch
from npas.train.ensemble import num_trained

_BYTES = 4  # of a float32 number
_LEAST_BATCH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What one training holds at the same time, in bytes; a lower bound.

    Attributes:
        weights: parameters with gradients and the optimiser's memory; composed weights with
            gradients; averaged parameters, and the weights composed of them.
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


def estimate(spec: JobSpec, plan: Plan, facts: Facts) -> Memory:
    """Return the least memory that the training of a job needs.

    Where the precision is left to the device, activations count as bfloat16: an estimate that is
    too low costs an attempt, one that is too high refuses what would have worked.

    Args:
        spec: the job.
        plan: of the job.
        facts: of the job's dataset.
    """
    batch = largest_batch(facts.num_train, spec.training, validation=facts.num_validation)
    running = trained(spec, plan)
    names = [network.name for network in running]
    composed = sum(group.num_dense for group in plan.groups)
    learned = sum(
        prod(slot.shape) for g in plan.groups for slot in g.slots if slot.network in names
    )
    own = _num_learned(plan, names)
    images = facts.num_train + facts.num_validation + facts.num_test
    pixels = facts.input_channels * facts.input_size**2 * images
    needed = Memory(
        weights=_BYTES * (composed + learned + plan.ledger.total + (_copies(spec) - 1) * own)
        + (_BYTES * (composed + plan.ledger.total) if spec.training.average else 0),
        activations=_activations(running, spec, batch),
        dataset=pixels,
    )
    if is_by_start(spec.training):
        return replace(needed, weights=needed.weights + _BYTES * plan.dense)
    if not own_epochs(spec.training):
        return needed
    taught = resolve_for(spec.members(), facts)
    dense = layer_table(taught, embeddings=True).dense if is_joining(spec) else plan.dense
    learning = replace(needed, weights=needed.weights + _BYTES * dense)  # from what is frozen
    teacher = Memory(  # trained first: the networks of the request, without sharing
        weights=_BYTES * _copies(spec) * dense,
        activations=_activations(taught, spec, batch),
        dataset=pixels,
    )
    return max(learning, teacher, key=lambda memory: memory.total)


def _num_learned(plan: Plan, names: Sequence[str]) -> int:
    """Return how many scalars are trained with some networks, where the others stay."""
    others = [network.name for network in plan.networks if network.name not in names]
    return plan.ledger.total - (num_read(plan, others) if others else 0)


def neediest(spec: JobSpec, plans: Sequence[Plan], facts: Facts) -> Plan:
    """Return the plan whose training needs the most memory; of equal ones the first.

    Args:
        spec: the job.
        plans: at least one, any of which it may come to.
        facts: of the job's dataset.
    """
    return max(plans, key=lambda plan: estimate(spec, plan, facts).total)


def require_room(spec: JobSpec, plan: Plan, facts: Facts, limit_bytes: int) -> None:
    """Check that a training fits.

    Args:
        spec: the job.
        plan: of the job.
        facts: of the job's dataset.
        limit_bytes: memory of the largest device there is.

    Raises:
        TooLargeError: it does not; the message says what to change.
    """
    needed = estimate(spec, plan, facts)
    if needed.total <= limit_bytes:
        return
    batch = largest_batch(facts.num_train, spec.training, validation=facts.num_validation)
    most = _most(spec, plan, facts, limit_bytes)
    is_for_a_batch = most >= _LEAST_BATCH
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


def _most(spec: JobSpec, plan: Plan, facts: Facts, limit_bytes: int) -> int:
    """Return a batch size that fits, nearly the largest; below `_LEAST_BATCH`: none does."""
    most = largest_batch(facts.num_train, spec.training, validation=facts.num_validation)
    while most >= _LEAST_BATCH:
        training = spec.training.model_copy(update={"batch_size": most})
        needed = estimate(spec.model_copy(update={"training": training}), plan, facts)
        if needed.total <= limit_bytes:
            break
        # Again: part of what a pass keeps does not grow with its batch.
        left = limit_bytes - needed.weights - needed.dataset
        most = left * most // max(needed.activations, left + 1)
    return most


def _copies(spec: JobSpec) -> int:
    """Return how often a parameter is there: its value, its gradient, what the optimiser keeps.

    Muon keeps as much of matrices as SGD does, and of little else more.
    """
    return 3 if spec.training.optimizer in ("sgd", "muon") else 4


def _activations(networks: Sequence[NetworkSpec], spec: JobSpec, batch: int) -> int:
    """Return the bytes that forward passes keep of one batch: of the largest that take part."""
    each = [footprint(network.architecture, batch=batch).kept_bytes for network in networks]
    ensemble = spec.training.ensemble
    fixed = 1 if ensemble.first_always else 0
    others = sorted(each[fixed:], reverse=True)[: num_trained(ensemble, len(each)) - fixed]
    kept = sum(each[:fixed] + others)
    return kept if spec.training.precision == "float32" else kept // 2


def _shown(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
