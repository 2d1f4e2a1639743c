"""What Python gives to `npas.plan`, checked and brought into the form of a request."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from torch import nn

from npas import arch
from npas.arch.matching import resolve_for
from npas.arch.own.reading import read
from npas.arch.own.refusal import check_instances
from npas.data import Facts, facts
from npas.errors import InvalidSpecError
from npas.planning.problem import PlanningProblem
from npas.plans import Plan, Stage
from npas.plans.evidence import check_evidence
from npas.spec import (
    OWN,
    ArchitectureSpec,
    BudgetSpec,
    DatasetSpec,
    LimitsSpec,
    MethodSpec,
    NetworkSpec,
    PlanRequest,
    SearchSpec,
    Spec,
)
from npas.spec.validation import FORMS, first_of, told

Planned = (
    str
    | Mapping[str, Any]
    | ArchitectureSpec
    | Sequence[NetworkSpec]
    | PlanRequest
    | nn.Module
    | Mapping[str, nn.Module]
)
Budget = int | Mapping[str, float | str] | BudgetSpec
Search = Mapping[str, Any] | SearchSpec | bool
Limits = Mapping[str, Any] | LimitsSpec
_Read = TypeVar("_Read", bound=Spec)


def problem(
    architecture: Planned,
    *,
    budget: Budget | None,
    method: str | MethodSpec,
    dataset: str | DatasetSpec | None,
    data_folder: Path | str | None,
    unshared: Sequence[str],
    share_embeddings: bool,
    example: object = None,
    search: Search | None = None,
    limits: Limits | None = None,
    options: Mapping[str, Any],
) -> PlanningProblem:
    """Return the problem that the arguments of `npas.plan` describe; raises what `plan` does."""
    if isinstance(architecture, PlanRequest):
        beside = (budget, dataset, search, limits)
        if any(each is not None for each in beside) or unshared or share_embeddings or options:
            raise InvalidSpecError(
                "a request has its own budget, dataset, search, limits and method options"
            )
        return PlanningProblem.of(architecture, dataset_facts(architecture.dataset, data_folder))
    if not isinstance(search, Mapping | SearchSpec | None):  # an option that some methods have
        options, search = {**options, "search": search}, None
    bounds = size_limits(search, limits)
    found = networks(architecture, example)
    known = dataset_facts(dataset, data_folder)
    if known is not None and any(each.architecture.module for each in found):
        raise InvalidSpecError(
            "a dataset sets sizes that are left open, and a module has all its own: leave it out",
            field="/dataset",
        )
    limit = _budget(budget)
    if limit is not None and limit.bytes is not None:
        _check_precision(found)
    return PlanningProblem.resolved(
        resolve_for(found, known),
        unshared=_entries(unshared),
        asked=_method_spec(method, options),
        budget=limit,
        share_embeddings=share_embeddings,
        limits=bounds,
    )


def _check_precision(found: Sequence[NetworkSpec]) -> None:
    """Refuse weights that a file of so many bytes would keep as they are: float32 is rounded."""
    for network in found:
        own = network.architecture.module
        layers = {layer.name for layer in own.layers} if own else set()
        for each in own.tensors if own else ():
            if each.name in layers and each.dtype != "float32":
                raise InvalidSpecError(
                    f"{network.name}/{each.name} is {each.dtype}, and a budget in bytes rounds "
                    "float32: give module.float()",
                    field="/budget",
                )


def dataset_facts(dataset: str | DatasetSpec | None, folder: Path | str | None) -> Facts | None:
    """Return the facts of a dataset that a plan needs; None without a dataset.

    Raises:
        InvalidSpecError: it is not how a dataset is named.
        UnknownNameError: no such dataset.
        DataError: its .npz file is missing or not what it must be.
    """
    if dataset is None:
        return None
    try:
        return facts(dataset, folder)
    except ValidationError as error:
        message = f"not a dataset: {dataset!r} ({error.errors()[0]['msg']})"
        raise InvalidSpecError(message, field="/dataset") from error


def size_limits(
    search: Mapping[str, Any] | SearchSpec | None, limits: Limits | None
) -> LimitsSpec | None:
    """Return what bounds the sizes that are offered; None: no other than the one asked for.

    Raises:
        InvalidSpecError: a value that is not allowed, or limits without a search.
    """
    wanted = None if search is None else _read(SearchSpec, search, "/search")
    bounds = None if limits is None else _read(LimitsSpec, limits, "/limits")
    if wanted is not None and wanted.scale:
        return bounds or LimitsSpec()
    if bounds is not None:
        raise InvalidSpecError(
            'limits are of the sizes that a search offers: give search={"scale": True} too, or '
            "leave limits out",
            field="/limits",
        )
    return None


def _read(kind: type[_Read], given: object, field: str) -> _Read:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        found = first_of(error, given, within=field)
        raise InvalidSpecError(
            f"{field[1:]}: {found}; {FORMS[kind.__name__]}", field=found.pointer
        ) from error


def check(evidence: object, stage: object, share_embeddings: object) -> None:
    """Refuse what Python may give and no request has.

    Raises:
        InvalidSpecError: a value that is not allowed.
    """
    check_evidence(evidence)
    if stage not in get_args(Stage):
        raise InvalidSpecError(f"stage {stage!r}: give {' or '.join(get_args(Stage))}")
    if not isinstance(share_embeddings, bool):
        raise InvalidSpecError(
            f"share_embeddings {share_embeddings!r}: give True or False", field="/share_embeddings"
        )


def _entries(unshared: Sequence[str]) -> tuple[str, ...]:
    """Check what Python was given, as a request's own is checked."""
    given = (unshared,) if isinstance(unshared, str) else unshared
    entries = tuple(given) if isinstance(given, Iterable) else (given,)
    if all(isinstance(entry, str) for entry in entries):
        return entries
    raise InvalidSpecError(
        f'unshared must be strings, such as ["stem", "stages.0.*"], not {unshared!r}',
        field="/unshared",
    )


def networks(architecture: Planned, example: object = None) -> list[NetworkSpec]:
    """Return networks as Python may give them, a lone architecture or module as "main".

    Args:
        architecture: or a module, or several by name.
        example: of what modules take, see `npas.arch.own.trial.arguments`; of several, by name.

    Raises:
        InvalidSpecError: they are none.
    """
    check_instances(architecture)
    modules = _modules(architecture)
    if modules:
        examples = {"main": example} if isinstance(architecture, nn.Module) else example
        found = []
        # No comprehension: in Python 3.11 it is a frame, and warnings name the caller by frames.
        for name, module in modules.items():
            found.append(_own(name, module, examples))
        return found
    if example is not None:
        raise InvalidSpecError("example is for modules; architectures know what they read")
    if isinstance(architecture, str | Mapping | ArchitectureSpec):
        return [NetworkSpec(name="main", architecture=arch.as_spec(architecture))]
    given = list(architecture) if isinstance(architecture, list | tuple) else []
    if not given or not all(isinstance(network, NetworkSpec) for network in given):
        message = (
            f"not networks: {architecture!r}; give a name, an ArchitectureSpec, a module, or "
            "one or more NetworkSpec"
        )
        if any(isinstance(each, Mapping) for each in given):
            message += '; declare a list of layers as {"name": "declared", "layers": [...]}'
        raise InvalidSpecError(message, field="/networks")
    if len({network.name for network in given}) < len(given):
        raise InvalidSpecError("two networks have the same name", field="/networks")
    return given


def _modules(given: object) -> dict[str, nn.Module]:
    """Return modules by name; none if something else was given."""
    if isinstance(given, nn.Module):
        return {"main": given}
    if isinstance(given, Mapping) and any(isinstance(e, nn.Module) for e in given.values()):
        wrong = [name for name, each in given.items() if not isinstance(each, nn.Module)]
        if wrong:
            raise InvalidSpecError(f"network {wrong[0]} is not a module", field="/networks")
        return dict(given)
    return {}


def _own(name: str, module: nn.Module, examples: object) -> NetworkSpec:
    """Return a module as data."""
    if isinstance(getattr(module, "plan", None), Plan):
        raise InvalidSpecError(
            f"network {name} shares by a plan already: plan its .plan.networks anew, and put that "
            "into effect with its regroup(plan)",
            field="/networks",
        )
    if examples is not None and not isinstance(examples, Mapping):
        raise InvalidSpecError(
            'give the examples of several modules by name, as {"a": (x,), "b": (x, y)}',
            field="/networks",
        )
    read_off = read(module, name, examples.get(name) if examples else None)
    try:
        own = ArchitectureSpec(name=OWN, module=read_off)
        return NetworkSpec(name=name, architecture=own)
    except ValidationError as error:
        message = f"not a network's name: {name!r} ({told(error.errors()[0])})"
        raise InvalidSpecError(message, field="/networks") from error


def _method_spec(method: str | MethodSpec, options: Mapping[str, Any]) -> MethodSpec:
    if "name" in options:
        raise InvalidSpecError("name is not an option; give method=...", field="/method/name")
    if isinstance(method, MethodSpec):
        options, method = {**method.options, **options}, method.name
    try:
        return MethodSpec(name=method, **options)
    except ValidationError as error:
        raise InvalidSpecError(f"not a method: {method!r}", field="/method") from error


def _budget(budget: Budget | None) -> BudgetSpec | None:
    if budget is None:
        return None
    try:
        return BudgetSpec.model_validate(budget)
    except ValidationError as error:
        wrong = dict.fromkeys([told(error.errors()[0]), FORMS["BudgetSpec"]])
        message = f"budget {budget!r}: {'; '.join(wrong)}"
        raise InvalidSpecError(message, field="/budget") from error
