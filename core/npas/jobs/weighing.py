"""Weighs a job before it starts: what it computes, how much memory, how large its files.

Example:
    >>> import npas
    >>> from npas.jobs.weighing import weigh
    >>> from npas.spec import JobSpec
    >>> spec = JobSpec.model_validate({
    ...     "architecture": "wrn-16-2", "budget": {"fraction": 0.25}, "dataset": "digits",
    ...     "training": {"epochs": 20, "batch_size": 64},
    ... })
    >>> work = weigh(spec, npas.plan(spec))
    >>> [(each.stage, each.steps) for each in work.stages]
    [('search', 42), ('train', 420), ('evaluate', 0)]
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from npas import data
from npas.arch.footprint import Stored, footprint
from npas.delivery.file_size import model_file_bytes, shared_state
from npas.jobs import memory
from npas.jobs.distillation import own_epochs, taught_by
from npas.jobs.kind import family_of, kind_of
from npas.jobs.resume_size import resume_file_bytes
from npas.jobs.stage_work import StageCounter
from npas.jobs.start import trained
from npas.jobs.workload import Workload
from npas.planning.offers import plans_of
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import JobSpec, NetworkSpec
from npas.train.ensemble import check_ensemble

_RESUME_FILES = 3  # two that are kept, and one that is written
_MODEL_FILES = 2  # in the folder of the job, and where artifacts are kept
_SMALL_FILES = 4 << 20  # logs, pictures, reports: a bound that is seldom reached


def weigh(spec: JobSpec, plan: Plan, folder: Path | None = None) -> Workload:
    """Return what a job will compute and keep, for the plan that it is accepted with.

    Args:
        spec: the job, which can be done with the data that are here.
        plan: of the job.
        folder: data folder; None: the default one.

    Raises:
        InvalidSpecError: what is asked of several networks cannot be done with as many.
    """
    running = trained(spec, plan)
    check_ensemble(spec.training, len(running))
    known = data.facts(spec.dataset, folder)
    problem, training = PlanningProblem.of(spec, known), spec.training
    teacher = taught_by(training, problem.networks, folder)
    counter = StageCounter(plan, problem, spec, known, teacher=teacher)
    state = list(shared_state(plan, [_tensors(each, counter) for each in plan.networks]))
    taught, searched = own_epochs(training), counter.search_epochs
    refined = problem.method.refine_after(problem.options, epochs=training.epochs)
    model = model_file_bytes(plan, state, spec, known)
    resume = resume_file_bytes(
        plan,
        _frozen_but(running, plan, state),
        training,
        is_validated=bool(known.num_validation or training.validation_fraction),
        teacher=_named(problem.networks, counter) if taught else (),
        epochs=taught + searched + training.epochs,
        plans=1 + (2 if searched else 0) + (1 if refined else 0),
    )
    is_folded = problem.method.fold_at(problem.options) is not None
    delivered = _MODEL_FILES * model * (2 if is_folded else 1)
    plans = [plan] if problem.limits is None else plans_of(problem)
    return Workload(
        kind=kind_of(plan, training, running),
        family=family_of(plan, training),
        stages=tuple(counter.stages()),
        memory_bytes=max(memory.estimate(spec, each, known).total for each in plans),
        file_bytes=model,
        resume_bytes=resume,
        disk_bytes=_RESUME_FILES * resume + delivered + _SMALL_FILES,
    )


def _frozen_but(
    running: Sequence[NetworkSpec], plan: Plan, state: Sequence[Stored]
) -> list[Stored]:
    """Return the tensors of a plan, those that are frozen for these networks as not trained."""
    if len(running) == len(plan.networks):
        return list(state)
    names = {network.name for network in running}
    parts = [f"networks.{i}." for i, each in enumerate(plan.networks) if each.name in names]
    parts += [
        f"groups.{group.name}.coefficients."
        for group in plan.groups
        if any(slot.network in names for slot in group.slots)
    ]
    return [
        replace(each, is_trained=each.is_trained and each.name.startswith(tuple(parts)))
        for each in state
    ]


def _tensors(network: NetworkSpec, counter: StageCounter) -> tuple[Stored, ...]:
    return footprint(network.architecture, batch=counter.batch).tensors


def _named(networks: tuple[NetworkSpec, ...], counter: StageCounter) -> list[Stored]:
    """Return the tensors of networks that share nothing, as their ensemble names them."""
    return [
        Stored(
            name=f"networks.{network.name}.{each.name}",
            dtype=each.dtype,
            shape=each.shape,
            is_trained=each.is_trained,
        )
        for network in networks
        for each in _tensors(network, counter)
    ]
