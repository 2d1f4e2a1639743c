"""Whichever method suits the budget and the data: a race decides, see `npas.jobs.race`.

Without data there is nothing to race on. A plan alone is then that of the method that a request
has by default, if the budget holds it, else that of the method that goes lowest, where possible on
the networks as they are. Its minimum is the lowest of all methods that it races, also of those
that plan other networks. A job races first and is planned anew, so its plan may be of another
method.
"""

from collections.abc import Sequence
from typing import cast

from pydantic import Field

from npas import registry
from npas.arch.layers import LayerTable
from npas.errors import InvalidSpecError, UnknownNameError
from npas.methods import Allocation, Contest, Method, checked_options, find, sets_networks
from npas.plans import Stage
from npas.plans.evidence import Evidence
from npas.spec import MethodSpec, Name, PlanRequest, Spec

NAME = __name__.rpartition(".")[2]


class AutoOptions(Spec):
    """Options of `auto`."""

    methods: tuple[Name, ...] | None = Field(
        None,
        min_length=1,
        max_length=32,
        strict=False,
        description="to race, one of them at least on the networks as they are; left out: all "
        "that are worth a try, see the catalogue of methods",
    )
    eta: int = Field(
        2, ge=2, le=16, description="of so many methods one goes on to the next round"
    )
    growth: int = Field(3, ge=2, le=16, description="so many times longer trains the next round")
    share: float = Field(
        0.3, gt=0, le=1, description="epochs of the last round, as part of all epochs"
    )
    held_out: float = Field(
        0.2, gt=0, le=0.5, description="least part of the training images to compare on"
    )


class Auto(Method):
    """All methods, one of which is chosen."""

    title = "The method that wins a race of short trainings on the data"
    Options = AutoOptions

    def contest(self, options: AutoOptions) -> Contest:
        """Return all methods but this one, each with the options worth a try."""
        return Contest(
            methods=self._methods(options),
            eta=options.eta,
            growth=options.growth,
            share=options.share,
            held_out=options.held_out,
        )

    def _methods(self, options: AutoOptions) -> tuple[MethodSpec, ...]:
        """Return what is raced, first the default method, unless `methods` leaves it out."""
        names = options.methods or [n for n in registry.names("npas.methods") if n != NAME]
        if NAME in map(registry.canonical, names):
            raise InvalidSpecError(f"{NAME} does not race itself", field="/method/methods")
        _check_known(names)
        if all(map(sets_networks, names)):
            raise InvalidSpecError(
                f"{', '.join(names)} plan other networks than those asked for: name a method that "
                "keeps them too, or leave methods out",
                field="/method/methods",
            )
        found = [
            MethodSpec(name=name, **variant)
            for name in names
            for variant in find(name).variants or ({},) * bool(options.methods)
        ]
        default = _default()
        is_raced = options.methods is None or default in found
        return (*([default] if is_raced else []), *(each for each in found if each != default))

    def counts_uses(self, options: AutoOptions) -> bool:
        """Return whether any of the methods looks at multiply-adds."""
        return any(_counts_uses(each) for each in self._methods(options))

    def smallest(self, table: LayerTable, options: AutoOptions) -> Allocation:
        """Return the smallest allocation of all methods on these networks.

        For a budget below it, the planner turns to the candidate that goes lowest.
        """
        found = [_smallest(table, method) for method in self._methods(options)]
        return min(found, key=lambda allocation: allocation.num_parameters)

    def allocate(
        self,
        table: LayerTable,
        budget: int,
        options: AutoOptions,
        *,
        evidence: Evidence | None,
        stage: Stage,
    ) -> Allocation:
        """Return the allocation of the default method, or of the one that goes lowest."""
        raced = self._methods(options)
        default, spare = _default(), budget - table.others
        if default in raced and _smallest(table, default).num_parameters <= spare:
            chosen = default
        else:
            chosen = min(raced, key=lambda method: _smallest(table, method).num_parameters)
        method = find(chosen.name)
        return method.allocate(
            table, budget, checked_options(method, chosen), evidence=evidence, stage=stage
        )


def _default() -> MethodSpec:
    """Return the method of a request that names none."""
    field = PlanRequest.model_fields["method"]
    return cast(MethodSpec, field.get_default(call_default_factory=True))


def _check_known(names: Sequence[str]) -> None:
    """Blame the name that no method has."""
    for index, name in enumerate(names):
        try:
            find(name)
        except UnknownNameError as error:
            error.field = f"/method/methods/{index}"
            raise


def _counts_uses(spec: MethodSpec) -> bool:
    method = find(spec.name)
    return method.counts_uses(checked_options(method, spec))


def _smallest(table: LayerTable, spec: MethodSpec) -> Allocation:
    method = find(spec.name)
    return method.smallest(table, checked_options(method, spec))


METHOD = Auto()
