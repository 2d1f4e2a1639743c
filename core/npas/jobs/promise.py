"""A job holds to the plan that it was accepted with, or says what changed since.

Where nothing is searched or raced, that plan is trained; else its method, networks and budget
hold, and the plan to train is made of what was measured.
"""

from collections.abc import Collection, Iterator, Sequence

from npas import arch, methods, recipes
from npas.errors import NpasError, OutdatedPlanError, PlanError
from npas.planning import sizes
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import JobSpec, NetworkSpec

AGAIN = "submit the job again to have it planned anew"


def check_promise(
    plan: Plan, spec: JobSpec, problem: PlanningProblem, *, stages: Collection[str] = ("train",)
) -> None:
    """Check that a plan is still one for its job: its method, networks, budget and layers.

    Args:
        plan: that the job was accepted with.
        spec: the job.
        problem: of the job, with the sizes that its dataset has now.
        stages: that the plan may be of.

    Raises:
        PlanError: it was never a plan for this job.
        OutdatedPlanError: the dataset, or the networks that npas builds, changed since.
    """
    if plan.stage not in stages:
        raise PlanError(f"the plan is of stage {plan.stage!r}; a job is promised one to train")
    if plan.method != spec.method.name:
        raise PlanError(f"the plan is of method {plan.method}, the job's is {spec.method.name}")
    planned, asked = _names(plan.networks), _names(problem.networks)
    if planned != asked and planned not in _other_names(problem):
        raise PlanError(f"the plan is for the networks {planned}, the job asks for {asked}")
    if changed := "; ".join(_changes(plan.networks, problem.networks)):
        raise OutdatedPlanError(
            f"the dataset changed after the job was accepted: {changed}; {AGAIN}"
        )
    _check_options(plan, spec, problem)
    _check_budget(plan, problem)
    _check_layers(plan, problem)


def _names(networks: Sequence[NetworkSpec]) -> list[tuple[str, str]]:
    return [(network.name, network.architecture.name) for network in networks]


def _other_names(problem: PlanningProblem) -> list[list[tuple[str, str]]]:
    """Return the names of the sizes that are offered where the one asked for is too large."""
    if problem.limits is None:
        return []
    return [_names(size.base) for size in sizes.others(problem)]


def _check_options(plan: Plan, spec: JobSpec, problem: PlanningProblem) -> None:
    """Check that options of method and networks are the job's.

    A plan of an older version of its method has the options of that time.
    """
    method = methods.find(spec.method.name)
    if plan.version == method.plan_version:
        asked = methods.checked_options(method, spec.method).model_dump(
            mode="json", exclude_unset=True
        )
        if plan.options != asked:
            raise PlanError(f"the plan's method has options {plan.options}, the job's {asked}")
    if plan.requested_dense is not None:
        return  # its method has changed the networks
    for planned, network in zip(plan.networks, problem.networks, strict=True):
        one, other = planned.architecture, network.architecture
        if (one.options, one.layers) != (other.options, other.layers):
            raise PlanError(
                f"the plan is for another {planned.name!r}: its options or layers differ"
            )
        if one.graph != other.graph:  # the same layers may be put together otherwise
            raise PlanError(f"the plan is for another {planned.name!r}: its graph differs")


def _check_budget(plan: Plan, problem: PlanningProblem) -> None:
    """Check that a budget is the job's; of one in bytes, the bytes of the file alone.

    How many parameters are planned for them depends on the version of the coder too.
    """
    limit, file_bytes = problem.budget, None if plan.file is None else plan.file.bytes
    if file_bytes != problem.file_bytes:
        raise outdated(f"its file has {file_bytes} bytes, the job's {problem.file_bytes}")
    if file_bytes is not None:
        return
    if limit is not None and plan.ledger.total > limit:
        raise PlanError(
            f"the plan has {plan.ledger.total:,} parameters, the job's budget is {limit:,}"
        )
    if plan.ledger.budget != limit:
        raise outdated(f"its budget is {plan.ledger.budget} parameters, the job's is {limit}")


def _check_layers(plan: Plan, problem: PlanningProblem) -> None:
    """Check that this version of npas builds the layers of a plan, and that it names them all."""
    try:
        for group in plan.groups:
            recipes.find(group.recipe)
        built = arch.layer_table(plan.networks, embeddings=True).layers
        whole, free = problem.whole(plan.networks).layers, problem.free(plan.networks).layers
    except NpasError as error:
        raise outdated(error) from error
    slots = [slot for group in plan.groups for slot in group.slots]
    planned = [(slot.key, slot.shape) for slot in slots]
    planned += [(layer.key, layer.shape) for layer in plan.private]
    shapes = {layer.key: layer.shape for layer in built}
    for key, shape in planned:
        if shapes.get(key) != shape:
            raise outdated(f"its layer {'/'.join(key)} of shape {shape} is not built any more")
    if apart := {slot.key for slot in slots} - {layer.key for layer in free}:
        raise PlanError(f"the plan shares {'/'.join(min(apart))}, which the job keeps unshared")
    if sorted(key for key, _ in planned) != sorted(layer.key for layer in whole):
        raise outdated("it does not name every layer that could share once")


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
