"""plan(): networks and a budget in, the exact allocation out. No weights are allocated."""

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from npas import arch, methods, registry
from npas.arch.layers import Layer, LayerTable
from npas.arch.matching import resolve_for
from npas.arch.unshared import without
from npas.data import Facts, facts
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.methods import Allocation
from npas.planning.scale import at_scale
from npas.plans import Ledger, Plan, PrivateLayer, Stage, check_plan
from npas.plans.evidence import (
    CoefficientAgreement,
    Evidence,
    check_agreement,
    check_evidence,
    check_evidence_for,
)
from npas.spec import (
    ArchitectureSpec,
    BudgetSpec,
    DatasetSpec,
    MethodSpec,
    NetworkSpec,
    PlanRequest,
    Spec,
)
from npas.spec.validation import FORMS, told

Planned = str | Mapping[str, Any] | ArchitectureSpec | Sequence[NetworkSpec] | PlanRequest
Budget = int | Mapping[str, float] | BudgetSpec
Networks = tuple[NetworkSpec, ...]


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
    **options: Any,
) -> Plan:
    """Decide which layers share which parameters.

    Args:
        architecture: "wrn-28-10", an architecture, several named networks, or a whole request,
            which brings all that a request has along: give none of it beside it.
        budget: trainable parameters of all networks together, or {"fraction": 0.25} of the dense
            size. None: no limit but the method's own (the dense size, where it needs one).
        method: name of a sharing method, or its spec.
        dataset: sets sizes that the architecture leaves open.
        evidence: what a search stage measured, to refine the plan.
        stage: "search" for the plan to train briefly before measuring.
        data_folder: where an "npz:NAME" dataset lies; None: the default folder.
        unshared: layers that keep their own weights: a kind ("depthwise"), a role ("stem"), or a
            pattern with * for names ("stages.0.*", "network/name"), each.
        share_embeddings: let embeddings share, too.
        **options: options of the method.

    Returns:
        A plan whose total is at most the budget. The same input gives the same plan, byte for
        byte. An option that does nothing in the plan is warned of (`UserWarning`).

    Raises:
        UnknownNameError: no such architecture, method or dataset.
        InvalidSpecError: a value that is not allowed.
        PlanError: the evidence is of other networks.
        InfeasibleBudgetError: the budget is below the method's minimum, which is in the error.

    Example:
        >>> import npas
        >>> npas.plan("wrn-28-10", method="soft_sharing", templates=2).ledger.total
        17125630
    """
    _check(evidence, stage, share_embeddings)
    if isinstance(architecture, PlanRequest):
        if budget is not None or dataset is not None or unshared or share_embeddings or options:
            raise InvalidSpecError("a request has its own budget, dataset and method options")
        networks: Sequence[NetworkSpec] = architecture.members()
        budget, method = architecture.budget, architecture.method
        dataset, unshared = architecture.dataset, architecture.unshared
        share_embeddings = architecture.share_embeddings
    else:
        networks = _networks(architecture)
    known = _facts(dataset, data_folder)
    if known:
        resolved = resolve_for(networks, known.sizes, task=known.task)
    else:
        resolved = resolve_for(networks, None)
    tables = _Tables(_entries(unshared), share_embeddings)
    spec = _method_spec(method, options)
    limit = _budget(budget, tables.whole(resolved))
    plan = _allocate(resolved, tables, limit, spec, evidence, stage)
    for idle in methods.idle_options(plan) if stage == "train" else ():
        warnings.warn(idle, stacklevel=2)
    if not unshared:
        return plan
    private = methods.ungrouped(tables.whole(plan.networks).layers, plan.groups)
    return plan.model_copy(update={"private": _private(private)})


class _Tables(NamedTuple):
    """The layers of networks, with and without what a request keeps out of sharing."""

    unshared: tuple[str, ...]
    embeddings: bool

    def whole(self, networks: Networks) -> LayerTable:
        """Return all layers that could share."""
        return arch.layer_table(networks, embeddings=self.embeddings)

    def free(self, networks: Networks) -> LayerTable:
        """Return the layers that may share."""
        return without(self.whole(networks), self.unshared)


def _entries(unshared: Sequence[str]) -> tuple[str, ...]:
    """Check what Python was given, as a request's own is checked."""
    entries = (unshared,) if isinstance(unshared, str) else unshared
    if isinstance(entries, Iterable) and all(isinstance(entry, str) for entry in entries):
        return tuple(entries)
    raise InvalidSpecError(
        f'unshared must be strings, such as ["stem", "stages.0.*"], not {unshared!r}',
        field="/unshared",
    )


def _check(evidence: object, stage: object, share_embeddings: object) -> None:
    """Refuse what Python may give and no request has."""
    check_evidence(evidence)
    if stage not in get_args(Stage):
        raise InvalidSpecError(f"stage {stage!r}: give {' or '.join(get_args(Stage))}")
    if not isinstance(share_embeddings, bool):
        raise InvalidSpecError(
            f"share_embeddings {share_embeddings!r}: give True or False", field="/share_embeddings"
        )


def _private(layers: Sequence[Layer]) -> tuple[PrivateLayer, ...]:
    """Return layers as a plan has those that keep their own weights."""
    return tuple(
        PrivateLayer(network=layer.network, layer=layer.name, shape=layer.shape)
        for layer in layers
    )


def _networks(
    architecture: str | Mapping[str, Any] | ArchitectureSpec | Sequence[NetworkSpec],
) -> list[NetworkSpec]:
    if isinstance(architecture, str | Mapping | ArchitectureSpec):
        return [NetworkSpec(name="main", architecture=arch.as_spec(architecture))]
    networks = list(architecture) if isinstance(architecture, list | tuple) else []
    if not networks or not all(isinstance(network, NetworkSpec) for network in networks):
        message = (
            f"not networks: {architecture!r}; give a name, an ArchitectureSpec, or one or more "
            "NetworkSpec"
        )
        if any(isinstance(each, Mapping) for each in networks):
            message += '; declare a list of layers as {"name": "declared", "layers": [...]}'
        raise InvalidSpecError(message, field="/networks")
    if len({network.name for network in networks}) < len(networks):
        raise InvalidSpecError("two networks have the same name", field="/networks")
    return networks


def _method_spec(method: str | MethodSpec, options: dict[str, Any]) -> MethodSpec:
    if "name" in options:
        raise InvalidSpecError("name is not an option; give method=...", field="/method/name")
    if isinstance(method, MethodSpec):
        options, method = {**method.options, **options}, method.name
    try:
        return MethodSpec(name=method, **options)
    except ValidationError as error:
        raise InvalidSpecError(f"not a method: {method!r}", field="/method") from error


def _facts(dataset: str | DatasetSpec | None, folder: Path | str | None) -> Facts | None:
    if dataset is None:
        return None
    try:
        return facts(dataset, folder)
    except ValidationError as error:
        message = f"not a dataset: {dataset!r} ({error.errors()[0]['msg']})"
        raise InvalidSpecError(message, field="/dataset") from error


def _budget(budget: Budget | None, table: LayerTable) -> int | None:
    if budget is None:
        return None
    try:
        return BudgetSpec.model_validate(budget).resolve(table.dense)
    except ValidationError as error:
        wrong = dict.fromkeys([told(error.errors()[0]), FORMS["BudgetSpec"]])
        message = f"budget {budget!r}: {'; '.join(wrong)}"
        raise InvalidSpecError(message, field="/budget") from error


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


def _minimum(networks: Networks, tables: _Tables, method: MethodSpec) -> int:
    """Return the fewest trainable parameters a method, or one that it races, reaches."""
    return _own_minimum(networks, tables, _lowest(networks, tables, method))


def _lowest(networks: Networks, tables: _Tables, method: MethodSpec) -> MethodSpec:
    """Return a method, or of those that it races the one that goes lower."""
    found = methods.find(method.name)
    contest = found.contest(methods.checked_options(found, method))
    raced = contest.methods if contest else ()
    return min((method, *raced), key=lambda each: _own_minimum(networks, tables, each))


def _own_minimum(networks: Networks, tables: _Tables, method: MethodSpec) -> int:
    """Return the fewest trainable parameters a method reaches, norms and biases included."""
    found = methods.find(method.name)
    options = methods.checked_options(found, method)
    table = tables.free(found.networks_for(networks, 0, options))
    return table.others + _least(method.name, options, table)


@functools.lru_cache(maxsize=256)
def _least(method: str, options: Spec, table: LayerTable) -> int:
    """Return the size of a method's smallest allocation; every refusal asks all methods for it."""
    return methods.find(method).smallest(table, options).num_parameters


def _allocate(
    networks: Networks,
    tables: _Tables,
    budget: int | None,
    asked: MethodSpec,
    evidence: Evidence | None,
    stage: Stage,
) -> Plan:
    least, dense = _minimum(networks, tables, asked), tables.free(networks).dense
    limit = max(least, dense) if budget is None else budget
    if limit < least:
        raise _infeasible(networks, tables, limit, asked, least)
    spec = asked
    if _own_minimum(networks, tables, spec) > limit:
        spec = _lowest(networks, tables, asked)
    method = methods.find(spec.name)
    options = methods.checked_options(method, spec)
    whole, networks = networks, method.networks_for(networks, limit, options)
    requested = None if networks == whole else dense
    table = tables.free(networks)
    if evidence is not None:
        names = ((layer.network, layer.name) for layer in table.layers)
        known = arch.layer_table(networks, embeddings=True).layers
        check_evidence_for(
            evidence,
            method.evidence_kind,
            layers=names,
            known=((layer.network, layer.name) for layer in known),
        )
    allocation = method.allocate(table, limit, options, evidence=evidence, stage=stage)
    groups = at_scale(allocation.groups, table.layers)
    ledger = _ledger(table, allocation, limit if budget is not None else None)
    return Plan(
        version=methods.find(asked.name).plan_version,
        method=asked.name,
        options=_canonical_options(asked),
        stage=stage,
        networks=networks,
        groups=groups,
        private=_private(allocation.private),
        ledger=ledger,
        minimum=least,
        requested_dense=requested,
    )


def _canonical_options(spec: MethodSpec) -> dict[str, Any]:
    """Return what was asked for, as JSON has it."""
    options = methods.checked_options(methods.find(spec.name), spec)
    return options.model_dump(mode="json", exclude_unset=True)


def _infeasible(
    networks: Networks, tables: _Tables, budget: int, method: MethodSpec, least: int
) -> InfeasibleBudgetError:
    """Return the refusal, with the minimum of every method and the part `unshared` has in it."""
    others = (MethodSpec(name=name) for name in registry.names("npas.methods"))
    spec = _lowest(networks, tables, method)
    found = methods.find(spec.name)
    planned = found.networks_for(networks, 0, methods.checked_options(found, spec))
    is_lower = _minimum(networks, tables._replace(unshared=()), method) < least
    unshared = tables.free(planned).others - tables.whole(planned).others
    return InfeasibleBudgetError(
        method=method.name,
        budget=budget,
        minimum=least,
        alternatives={
            each.name: _minimum(networks, tables, each)
            for each in others
            if each.name != method.name
        },
        unshared=unshared if is_lower else 0,
    )


def _ledger(table: LayerTable, allocation: Allocation, budget: int | None) -> Ledger:
    """Count; without a budget the total is the budget."""
    banks = [bank for group in allocation.groups for bank in group.banks]
    total = table.others + allocation.num_parameters
    limit = total if budget is None else budget
    assert total <= limit, f"the method overshot: {total} > {limit}"
    return Ledger(
        templates=sum(bank.num_template_scalars for bank in banks),
        coefficients=sum(bank.num_coefficients for bank in banks),
        private=table.others + sum(layer.size for layer in allocation.private),
        total=total,
        dense=table.dense,
        budget=limit,
        unused=limit - total,
    )
