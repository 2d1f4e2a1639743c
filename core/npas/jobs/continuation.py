"""Whether the plan of a start is trained on, or the job is planned anew."""

from collections.abc import Collection
from pathlib import Path

from npas.delivery import checkpoint
from npas.errors import CheckpointError, PlanError
from npas.jobs.promise import check_promise
from npas.jobs.start import Start, missing, unusable
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.sharing.sameness import check_inherits
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
    plan = _plan(path)
    return plan if continues(plan, spec, problem) else None


def check_suits(path: Path, plan: Plan) -> None:
    """Check that the networks of a plan can begin with the weights of a file.

    Raises:
        StartError: they are other networks; the message names the first layer that differs.
        StartError: the file is missing, damaged, or no file of ours.
    """
    check_inherits(plan, _plan(path))


def is_continued(
    start: Start, spec: JobSpec, problem: PlanningProblem, accepted: Plan | None
) -> bool:
    """Tell whether a job trains the plan of its start on; see `continues`.

    Args:
        start: of the job.
        spec: the job.
        problem: of the job.
        accepted: the plan that the job was accepted with; None: there is none.
    """
    own = start.model.plan
    return accepted in (None, own) and continues(own, spec, problem)


def _plan(path: Path) -> Plan:
    try:
        return checkpoint.read_metadata(path)[0]
    except (OSError, CheckpointError) as error:
        raise unusable(error) from error
