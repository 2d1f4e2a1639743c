"""Whether a job can be done with the data that are here, asked before anybody waits."""

from pathlib import Path

from npas import data
from npas.delivery.together import check_corrupted
from npas.jobs import continuation, distillation, memory
from npas.jobs.start import check_sizes, check_teacher, is_joining, trained
from npas.planning.offers import plans_of
from npas.planning.planner import solve
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import JobSpec
from npas.train import augment
from npas.train.balance import check_balance
from npas.train.ensemble import check_ensemble
from npas.train.sizes import check_test_size


def admit(
    spec: JobSpec,
    folder: Path | None = None,
    *,
    memory_bytes: int | None = None,
    start: Path | None = None,
) -> Plan:
    """Plan a job and check all else that it needs, without reading images or weights.

    Args:
        spec: the job.
        folder: data folder; None: the default one.
        memory_bytes: of the largest device there is; None: not known.
        start: the file that `spec.start` names.

    Returns:
        the plan that the job is promised.

    Raises:
        UnknownNameError: no such dataset, architecture or method.
        DataError: the dataset, or the teacher's file, is not there or cannot be used.
        InvalidSpecError: options that are not allowed, or do not suit the dataset or each other.
        StartError: the start's file is not there, cannot be used, or is of other networks.
        InfeasibleBudgetError: the budget is below the method's minimum.
        TooLargeError: the training does not fit the memory.
        MissingPackageError: an optional package that an option needs is not installed.
    """
    check_teacher(spec)
    check_sizes(spec)
    if not is_joining(spec):  # else it depends on the file how many there are
        check_ensemble(spec.training, len(spec.members()))
    known = data.require(spec.dataset, folder)
    problem = PlanningProblem.of(spec, known)
    plan = continuation.planned(start, spec, problem)
    if plan is None:
        plan = solve(problem)
        problem.method.refine_after(problem.options, epochs=spec.training.epochs)
    check_ensemble(spec.training, len(trained(spec, plan)))
    if start is not None:
        continuation.check_suits(start, plan, spec, problem)
    augment.check(spec.training, known.task, known.input_channels)
    check_test_size(spec.training, plan.networks, known.task)
    check_balance(spec.training, known.task)
    check_corrupted(spec.corrupted_images, len(plan.networks), known)
    distillation.require(spec.training, known, folder)
    if memory_bytes is not None:
        plans = [plan] if problem.limits is None else plans_of(problem)
        memory.require_room(spec, memory.neediest(spec, plans, known), known, memory_bytes)
    return plan
