"""A job holds to the plan that it was accepted with, or says what changed since.

Where nothing is searched or raced, that plan is trained; else its method, networks and budget
hold, and the plan to train is made of what was measured.
"""

from collections.abc import Iterator, Sequence

from npas import arch, recipes
from npas.errors import NpasError, OutdatedPlanError, PlanError
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import JobSpec, NetworkSpec

AGAIN = "submit the job again to have it planned anew"


def check_promise(plan: Plan, spec: JobSpec, problem: PlanningProblem) -> None:
    """Check that a plan is still one for its job: of its method, networks and budget.

    Args:
        plan: that the job was accepted with.
        spec: the job.
        problem: of the job, with the sizes that its dataset has now.

    Raises:
        PlanError: it was never a plan for this job.
        OutdatedPlanError: the dataset, or the networks that npas builds, changed since.
    """
    if plan.stage != "train":
        raise PlanError(f"the plan is of stage {plan.stage!r}; a job is promised one to train")
    if plan.method != spec.method.name:
        raise PlanError(f"the plan is of method {plan.method}, the job's is {spec.method.name}")
    planned = [(network.name, network.architecture.name) for network in plan.networks]
    asked = [(network.name, network.architecture.name) for network in problem.networks]
    if planned != asked:
        raise PlanError(f"the plan is for the networks {planned}, the job asks for {asked}")
    if changed := "; ".join(_changes(plan.networks, problem.networks)):
        raise OutdatedPlanError(
            f"the dataset changed after the job was accepted: {changed}; {AGAIN}"
        )
    limit = problem.budget
    if limit is not None and plan.ledger.total > limit:
        raise PlanError(
            f"the plan has {plan.ledger.total:,} parameters, the job's budget is {limit:,}"
        )
    _check_layers(plan)


def _check_layers(plan: Plan) -> None:
    """Check that this version of npas builds the layers of a plan, and knows its recipes."""
    try:
        for group in plan.groups:
            recipes.find(group.recipe)
        table = arch.layer_table(plan.networks, embeddings=True)
    except NpasError as error:
        raise outdated(error) from error
    shapes = {layer.key: layer.shape for layer in table.layers}
    planned = {slot.key: slot.shape for group in plan.groups for slot in group.slots}
    for key, shape in (planned | {layer.key: layer.shape for layer in plan.private}).items():
        if shapes.get(key) != shape:
            raise outdated(f"its layer {'/'.join(key)} of shape {shape} is not built any more")


def _changes(planned: Sequence[NetworkSpec], now: Sequence[NetworkSpec]) -> Iterator[str]:
    """Yield what is otherwise, in words: an architecture's options may be the method's work."""
    for one, other in zip(planned, now, strict=True):
        for field in ("num_classes", "input_channels", "input_size"):
            before, after = (getattr(each.architecture, field) for each in (one, other))
            if before != after:
                yield f"{field} of {one.name!r} was {before} and is {after}"


def outdated(cause: NpasError | str) -> OutdatedPlanError:
    """Return the error of a plan that this version of npas cannot put into effect."""
    return OutdatedPlanError(
        f"this version of npas cannot train the plan that the job was accepted with: {cause}; "
        f"{AGAIN}"
    )
