"""A job trains the plan that it was accepted with, or says what changed since."""

from collections.abc import Iterator, Sequence

from npas.errors import OutdatedPlanError, PlanError
from npas.plans import Plan
from npas.spec import JobSpec, NetworkSpec

AGAIN = "submit the job again to have it planned anew"


def check_promise(plan: Plan, spec: JobSpec, networks: Sequence[NetworkSpec]) -> None:
    """Check that a plan is still one for its job.

    Args:
        plan: that the job was accepted with.
        spec: the job.
        networks: of the job, with the sizes that its dataset has now.

    Raises:
        PlanError: it was never a plan for this job.
        OutdatedPlanError: the dataset changed since.
    """
    if plan.stage != "train":
        raise PlanError(f"the plan is of stage {plan.stage!r}; a job is promised one to train")
    limit = spec.budget.resolve(plan.dense)
    if plan.ledger.total > limit:
        raise PlanError(
            f"the plan has {plan.ledger.total:,} parameters, the job's budget is {limit:,}"
        )
    planned = [(network.name, network.architecture.name) for network in plan.networks]
    asked = [(network.name, network.architecture.name) for network in networks]
    if planned != asked:
        raise PlanError(f"the plan is for the networks {planned}, the job asks for {asked}")
    if changed := "; ".join(_changes(plan.networks, networks)):
        raise OutdatedPlanError(
            f"the dataset changed after the job was accepted: {changed}; {AGAIN}"
        )


def _changes(planned: Sequence[NetworkSpec], now: Sequence[NetworkSpec]) -> Iterator[str]:
    """Yield what is otherwise, in words: an architecture's options may be the method's work."""
    for one, other in zip(planned, now, strict=True):
        for field in ("num_classes", "input_channels", "input_size"):
            before, after = (getattr(each.architecture, field) for each in (one, other))
            if before != after:
                yield f"{field} of {one.name!r} was {before} and is {after}"


def outdated(error: PlanError) -> OutdatedPlanError:
    """Return the error of a plan that its own networks do not fit any more."""
    return OutdatedPlanError(
        f"the networks that this version of npas builds are not those of the job's plan: {error}; "
        f"{AGAIN}"
    )
