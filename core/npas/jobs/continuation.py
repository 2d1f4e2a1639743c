"""Whether the plan of a start is trained on, or the job is planned anew."""

from collections.abc import Collection
from pathlib import Path

from npas.delivery import checkpoint
from npas.delivery.weights import dense_plan, is_of_weights
from npas.errors import CheckpointError, InvalidSpecError, PlanError, StartError
from npas.jobs.promise import check_promise, outdated
from npas.jobs.start import Start, is_joining, missing, unusable
from npas.planning.joining import joined, size_difference
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.sharing.sameness import FIELD, check_inherits
from npas.spec import JobSpec

TRAINED: Collection[str] = ("train", "refined")
"""Stages of plans that can be trained on."""


def continues(plan: Plan, spec: JobSpec, problem: PlanningProblem) -> bool:
    """Tell whether the plan of a start is one for a job, so that it is trained on as it is.

    Then nothing is raced, searched or refined: that was done for the weights that there are.

    Args:
        plan: of the start.
        spec: the job.
        problem: of the job.
    """
    try:
        check_promise(plan, spec, problem, stages=TRAINED)
    except PlanError:
        return False
    return True


def planned(path: Path | None, spec: JobSpec, problem: PlanningProblem) -> Plan | None:
    """Return the plan that a job takes from its start; None: it is to be planned.

    Args:
        path: of the file that `spec.start` names; None: it names none.
        spec: the job.
        problem: of the job.

    Raises:
        StartError: the file is missing, damaged, or no file of ours.
        StartError: the spec names a file that is not given.
    """
    if path is None:
        if spec.start is not None:
            raise missing()
        return None
    return kept(_plan(path, problem), spec, problem)


def kept(own: Plan, spec: JobSpec, problem: PlanningProblem) -> Plan | None:
    """Return the plan that a job takes from that of its start; None: it is to be planned.

    It is the start's own where that is one for the job. Where the job's networks join those of the
    start, it is the start's own with them.

    Raises:
        StartError: the networks of the start are for images of another size or kind.
        InvalidSpecError: a new network has the name of one that is there.
        InfeasibleBudgetError: the least that the new networks add is more than the budget.
    """
    if is_joining(spec):
        _check_sizes(own, problem)
        try:
            return joined(own, problem)
        except InvalidSpecError as error:
            if spec.networks is not None:
                raise
            raise InvalidSpecError(error.message, field="/architecture") from error
    return own if continues(own, spec, problem) else None


def check_suits(path: Path, plan: Plan, spec: JobSpec, problem: PlanningProblem) -> None:
    """Check that the networks of a plan can begin with the weights of a file.

    Raises:
        StartError: they are other networks; the message names the first layer that differs.
        StartError: the file is missing, damaged, or no file of ours.
    """
    if not is_joining(spec):
        check_inherits(plan, _plan(path, problem))


def going_on(
    start: Start, spec: JobSpec, problem: PlanningProblem, accepted: Plan | None
) -> Plan | None:
    """Return the plan that a job trains on from its start, see `kept`; None: it is planned anew.

    Args:
        start: of the job.
        spec: the job.
        problem: of the job.
        accepted: the plan that the job was accepted with; None: there is none.

    Raises:
        OutdatedPlanError: networks join, and otherwise than they were promised to.
        NpasError: as for `kept`.
    """
    found = kept(start.model.plan, spec, problem)
    if found is None or accepted in (None, found):
        return found
    if is_joining(spec):
        raise outdated("networks would join the banks of the start otherwise today")
    return None


def _check_sizes(own: Plan, problem: PlanningProblem) -> None:
    """Check that the networks of a start answer for the same images as those that join them."""
    if difference := size_difference(own, problem):
        raise StartError(
            f"in the checkpoint, {difference}: join a checkpoint of the same dataset", field=FIELD
        )


def _plan(path: Path, problem: PlanningProblem) -> Plan:
    """Return the plan of a file; of one of weights, that of the job's networks without sharing."""
    try:
        if is_of_weights(path):
            return dense_plan(path, problem.networks)
        return checkpoint.read_metadata(path)[0]
    except (OSError, CheckpointError) as error:
        raise unusable(error) from error
