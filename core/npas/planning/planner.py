"""plan(): networks and a budget in, the exact allocation out. No weights are allocated."""

import functools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from npas import arch, methods, registry
from npas.arch.layers import Layer, LayerTable
from npas.arch.uses import counted
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.planning import file_budget, inputs, sizes
from npas.planning.inputs import Budget, Limits, Planned, Search
from npas.planning.problem import PlanningProblem
from npas.planning.scale import at_scale
from npas.plans import Ledger, Plan, PrivateLayer, Stage, check_plan
from npas.plans.evidence import (
    CoefficientAgreement,
    Evidence,
    check_agreement,
    check_evidence_for,
)
from npas.spec import DatasetSpec, MethodSpec, NetworkSpec, Spec


def plan(
    architecture: Planned,
    *,
    budget: Budget | None = None,
    method: str | MethodSpec = "block_mix",
    dataset: str | DatasetSpec | None = None,
    evidence: Evidence | None = None,
    stage: Stage = "train",
    data_folder: Path | str | None = None,
    unshared: Sequence[str] = (),
    share_embeddings: bool = False,
    example: object = None,
    search: Search | None = None,
    limits: Limits | None = None,
    **options: Any,
) -> Plan:
    """Decide which layers share which parameters.

    Args:
        architecture: "wrn-28-10", an architecture, several named networks, or a whole request,
            which brings all that a request has along: give none of it beside it. Or any
            `nn.Module`, or several by name, which are looked at and left as they are.
        budget: trainable parameters of all networks together, {"fraction": 0.25} of the dense
            size, {"bytes": 96_000} of the file, or {"device": NAME} for what a board has room
            for. None: no limit but the method's own (the dense size, where it needs one).
        method: name of a sharing method, or its spec.
        dataset: sets sizes that the architecture leaves open.
        evidence: what a search stage measured, to refine the plan.
        stage: "search" for the plan to train briefly before measuring.
        data_folder: where an "npz:NAME" dataset lies; None: the default folder.
        unshared: layers that keep their own weights: a kind ("depthwise"), a role ("stem"), or a
            pattern with * for names ("stages.0.*", "network/name"), each.
        share_embeddings: let embeddings share, too.
        example: what a module's forward takes: `(x,)`, or a mapping of keywords; of several
            modules, by network. The module is run on it once, to find what it reads and whether
            it runs on generated weights. None: it is not run.
        search: {"scale": True}: a network of another size of the family is planned where the
            budget or the limits do not hold the one asked for; `npas.offered` lists all that may
            be, and a job races them. True and False are the method's own option of that name.
        limits: what a network that is offered may take to run: {"macs": ..., "activation_bytes":
            ...}; left out: twice the multiply-adds of the one asked for.
        **options: options of the method.

    Returns:
        A plan whose total, or whose file, is at most the budget. The same input gives the same
        plan, byte for byte. An option that does nothing in the plan is warned of (`UserWarning`).

    Raises:
        UnknownNameError: no such architecture, method or dataset.
        InvalidSpecError: a value that is not allowed.
        PlanError: the evidence is of other networks.
        InfeasibleBudgetError: the budget is below the method's minimum, which is in the error.
        MissingPackageError: the budget is in bytes, and brotli is not installed.

    Example:
        >>> import npas
        >>> npas.plan("wrn-28-10", method="soft_sharing", templates=2).ledger.total
        17125630
    """
    inputs.check(evidence, stage, share_embeddings)
    problem = inputs.problem(
        architecture,
        budget=budget,
        method=method,
        dataset=dataset,
        data_folder=data_folder,
        unshared=unshared,
        share_embeddings=share_embeddings,
        example=example,
        search=search,
        limits=limits,
        options=options,
    )
    made = solve(problem, evidence=evidence, stage=stage)
    for idle in methods.idle_options(made) if stage == "train" else ():
        warnings.warn(idle, stacklevel=2)
    return made


def solve(
    problem: PlanningProblem, *, evidence: Evidence | None = None, stage: Stage = "train"
) -> Plan:
    """Return the plan of a problem; see `plan`, which warns of options that do nothing in it.

    Where other sizes of the network may be planned, it is that of the one asked for if the budget
    and the limits hold it, else of the first that they do.

    Raises:
        PlanError: the evidence is of other networks.
        InfeasibleBudgetError: the budget is below the method's minimum, which is in the error.
        InvalidSpecError: no size is within the limits, or evidence is given beside them.
    """
    if problem.limits is not None:
        if evidence is not None:
            raise InvalidSpecError(
                "evidence is of one network: leave search out, or the evidence", field="/search"
            )
        problem = next(_fitting(problem))
    if problem.file_bytes is None:
        return _solved(problem, evidence, stage)
    count = _parameters_for(replace(problem, file_bytes=None), problem.file_bytes)
    made = _solved(replace(problem, budget=count), evidence, stage)
    return made.model_copy(update={"file": file_budget.recorded(made, problem.file_bytes)})


def fitting_sizes(problem: PlanningProblem) -> tuple[PlanningProblem, ...]:
    """Return the problem of each size that is offered, first that of the network asked for.

    Args:
        problem: with limits; without any, it offers itself alone.

    Raises:
        InfeasibleBudgetError: the budget is below the minimum of every size within the limits.
        InvalidSpecError: no size is within the limits.
    """
    if problem.limits is None:
        return (problem,)
    return sizes.spread(list(_fitting(problem)))


def _fitting(problem: PlanningProblem) -> Iterator[PlanningProblem]:
    """Yield the problem of each size that is within the limits and that the budget holds.

    Raises:
        InfeasibleBudgetError: there is none; the minimum in it is the lowest of all sizes.
        InvalidSpecError: no size is within the limits.
    """
    is_in_bytes = problem.file_bytes is not None
    limit = problem.file_bytes if is_in_bytes else problem.budget
    assert limit is not None
    lowest: tuple[int, PlanningProblem] | None = None
    refused: InvalidSpecError | None = None
    is_any = False
    for size in sizes.within(problem):
        try:
            least = _least_of_budget(size)
        except InvalidSpecError as error:  # such as an option that names layers of another size
            if size.size is None:
                raise
            refused = error
            continue
        if least <= limit:
            is_any = True
            yield size
        elif lowest is None or least < lowest[0]:
            lowest = least, size
    if not is_any and lowest is not None:
        refuse = _infeasible_file if is_in_bytes else _infeasible
        network = lowest[1].base[0].architecture.told
        raise refuse(lowest[1], limit, lowest[0], network=network)
    if not is_any and refused is not None:
        raise refused


def _least_of_budget(problem: PlanningProblem) -> int:
    """Return the least budget of a method, in what the problem's counts."""
    if problem.file_bytes is None:
        return minimum(problem)
    return _smallest(replace(problem, file_bytes=None)).least_bytes


def _solved(problem: PlanningProblem, evidence: Evidence | None, stage: Stage) -> Plan:
    made = _allocate(problem, evidence, stage)
    if not problem.unshared:
        return made
    private = methods.ungrouped(problem.whole(made.networks).layers, made.groups)
    return made.model_copy(update={"private": _private(private)})


def _parameters_for(problem: PlanningProblem, num_bytes: int) -> int:
    """Return the budget in parameters for a file of so many bytes.

    Raises:
        InfeasibleBudgetError: the smallest file of the method is larger; it says how large.
    """
    smallest = _smallest(problem)
    if smallest.least_bytes > num_bytes:
        raise _infeasible_file(problem, num_bytes, smallest.least_bytes)
    return file_budget.parameters_for(
        num_bytes,
        least=minimum(problem),
        smallest=smallest,
        dense=problem.free(problem.base).dense,
        held=lambda count: file_budget.held(
            _solved(replace(problem, budget=count), None, "train")
        ),
    )


def _smallest(problem: PlanningProblem) -> file_budget.Held:
    """Return what the smallest file of a method holds."""
    smallest = replace(problem, budget=minimum(problem))
    return file_budget.held(_solved(smallest, None, "train"))


def _private(layers: Sequence[Layer]) -> tuple[PrivateLayer, ...]:
    """Return layers as a plan has those that keep their own weights."""
    return tuple(
        PrivateLayer(network=layer.network, layer=layer.name, shape=layer.shape)
        for layer in layers
    )


def refine(plan: Plan, evidence: CoefficientAgreement) -> Plan:
    """Change the coefficients of a plan in the midst of its training, as its method sees fit.

    Args:
        plan: in force.
        evidence: from `npas.sharing.measure.coefficient_agreement`, of a model under that plan.

    Returns:
        The same groups with the same templates, with other rows of coefficients, within the same
        budget; see `npas.sharing.untying.untie` for putting it into effect.

    Raises:
        InvalidSpecError: the evidence is not of this kind.
        PlanError: this is no plan, or the evidence is of another one.
    """
    check_plan(plan)
    check_agreement(evidence, plan.groups)
    method, options = methods.planned_by(plan)
    return plan.refined(method.refine(plan.groups, options, evidence))


def _check(
    evidence: Evidence,
    problem: PlanningProblem,
    table: LayerTable,
    networks: Sequence[NetworkSpec],
) -> None:
    """Raise an error unless evidence is of the kind that the method reads, and of these layers."""
    known = arch.layer_table(networks, embeddings=True).layers
    check_evidence_for(
        evidence,
        problem.method.evidence_kind,
        layers=(layer.key for layer in table.layers),
        known=(layer.key for layer in known),
    )


def minimum(problem: PlanningProblem) -> int:
    """Return the fewest trainable parameters a method, or one that it races, reaches."""
    return own_minimum(_lowest(problem))


def _lowest(problem: PlanningProblem) -> PlanningProblem:
    """Return the problem under its method, or under the one of those it races that goes lower."""
    contest = problem.method.contest(problem.options)
    raced = map(problem.under, contest.methods if contest else ())
    return min((problem, *raced), key=own_minimum)


def own_minimum(problem: PlanningProblem) -> int:
    """Return the fewest trainable parameters a method reaches, norms and biases included."""
    table = problem.free(problem.networks_for(0))
    return table.others + _least(problem.asked.name, problem.options, table)


@functools.lru_cache(maxsize=256)
def _least(method: str, options: Spec, table: LayerTable) -> int:
    """Return the size of a method's smallest allocation; every refusal asks all methods for it."""
    return methods.find(method).smallest(table, options).num_parameters


def _allocate(asked: PlanningProblem, evidence: Evidence | None, stage: Stage) -> Plan:
    least, dense = minimum(asked), asked.free(asked.networks).dense
    limit = max(least, dense) if asked.budget is None else asked.budget
    if limit < least:
        raise _infeasible(asked, limit, least)
    # A budget that only a candidate of a race holds is planned by the one that goes lowest.
    problem = asked if own_minimum(asked) <= limit else _lowest(asked)
    networks = problem.networks_for(limit)
    table = problem.free(networks)
    if evidence is not None:
        _check(evidence, problem, table, networks)
    if problem.method.counts_uses(problem.options):
        table = counted(table, networks)
    allocation = problem.method.allocate(
        table, limit, problem.options, evidence=evidence, stage=stage
    )
    count = table.others + allocation.num_parameters
    assert count <= limit, f"the method overshot: {count} > {limit}"
    return Plan(
        version=asked.method.plan_version,
        method=asked.asked.name,
        options=asked.options.model_dump(mode="json", exclude_unset=True),
        stage=stage,
        networks=networks,
        groups=at_scale(allocation.groups, table.layers),
        private=_private(allocation.private),
        ledger=Ledger.of(
            allocation.groups,
            private=table.others + sum(layer.size for layer in allocation.private),
            dense=table.dense,
            budget=asked.budget,
        ),
        minimum=least,
        requested_dense=None if networks == asked.networks else dense,
    )


def _infeasible(
    problem: PlanningProblem, budget: int, least: int, *, network: str = ""
) -> InfeasibleBudgetError:
    """Return the refusal, with the minimum of every method and the part `unshared` has in it."""
    asked = problem.asked
    others = [name for name in registry.names("npas.methods") if name != asked.name]
    lowest = _lowest(problem)
    planned = lowest.networks_for(0)
    is_lower = minimum(replace(problem, unshared=())) < least
    unshared = problem.free(planned).others - problem.whole(planned).others
    return InfeasibleBudgetError(
        method=asked.name,
        budget=budget,
        minimum=least,
        alternatives={name: minimum(problem.under(MethodSpec(name=name))) for name in others},
        unshared=unshared if is_lower else 0,
        network=network,
    )


def _infeasible_file(
    problem: PlanningProblem, budget: int, least: int, *, network: str = ""
) -> InfeasibleBudgetError:
    """Return the refusal of a budget in bytes, with the least of every method."""
    names = [name for name in registry.names("npas.methods") if name != problem.asked.name]
    others = {name: problem.under(MethodSpec(name=name)) for name in names}
    return InfeasibleBudgetError(
        method=problem.asked.name,
        budget=budget,
        minimum=least,
        alternatives={name: _smallest(each).least_bytes for name, each in others.items()},
        unit="bytes",
        network=network,
    )
