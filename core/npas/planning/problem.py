"""What is to be planned: networks, budget and method, each resolved and checked once."""

from dataclasses import dataclass, replace
from typing import Self

from npas import arch, methods
from npas.arch.layers import LayerTable
from npas.arch.matching import resolve_for
from npas.arch.unshared import without
from npas.data import Dataset, Facts
from npas.errors import InvalidSpecError
from npas.methods import Contest, Method
from npas.spec import BudgetSpec, LimitsSpec, MethodSpec, NetworkSpec, PlanRequest, Spec

Networks = tuple[NetworkSpec, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanningProblem:
    """What `npas.planning.planner.solve` makes a plan for.

    Attributes:
        networks: with all sizes, those of the dataset where there is one.
        budget: trainable parameters of all networks together; None: no limit but the method's own,
            or that of the file.
        asked: the method and its options, as they were asked for.
        method: by that name.
        options: of the method, checked.
        unshared: kinds, roles and patterns of layers that keep their own weights.
        share_embeddings: whether embeddings may share, too.
        file_bytes: most bytes of the file, of a budget in bytes; what such a file should hold is
            found when it is planned, see `npas.planning.file_budget`. None: it counts parameters.
        limits: of the sizes that may be planned in place of the networks, see
            `npas.planning.sizes`; None: the networks are planned as they are.
        size: the networks in another size, which are planned in their place; None: they are
            planned as they are.
    """

    networks: Networks
    budget: int | None
    asked: MethodSpec
    method: Method
    options: Spec
    unshared: tuple[str, ...]
    share_embeddings: bool
    file_bytes: int | None = None
    limits: LimitsSpec | None = None
    size: Networks | None = None

    @classmethod
    def of(cls, request: PlanRequest, dataset: Dataset | Facts | None) -> Self:
        """Return the problem of a request.

        Args:
            request: a `JobSpec` is one.
            dataset: of the request, as it is here now; None where it names none.

        Raises:
            UnknownNameError: no such architecture or method.
            InvalidSpecError: an option that is not allowed, or a network that contradicts the
                dataset.
        """
        return cls.resolved(
            resolve_for(request.members(), dataset),
            budget=request.budget,
            asked=request.method,
            unshared=request.unshared,
            share_embeddings=request.share_embeddings,
            limits=request.size_limits,
        )

    @classmethod
    def resolved(
        cls,
        networks: Networks,
        *,
        budget: BudgetSpec | None,
        asked: MethodSpec,
        unshared: tuple[str, ...],
        share_embeddings: bool,
        limits: LimitsSpec | None = None,
    ) -> Self:
        """Return the problem of networks that have all their sizes; the errors are those of `of`.

        Args:
            networks: with all sizes.
            budget: None: no limit but the method's own.
            asked: the method and its options.
            unshared: layers that keep their own weights.
            share_embeddings: whether embeddings may share, too.
            limits: of the sizes that may be planned in their place; None: none may.
        """
        if limits is not None:
            _check_has_sizes(networks, budget)
        whole = arch.layer_table(networks, embeddings=share_embeddings)
        method = methods.find(asked.name)
        file_bytes = None if budget is None else budget.bytes
        is_counted = budget is not None and file_bytes is None
        return cls(
            networks=networks,
            budget=budget.resolve(whole.dense) if budget is not None and is_counted else None,
            asked=asked,
            method=method,
            options=methods.checked_options(method, asked),
            unshared=unshared,
            share_embeddings=share_embeddings,
            file_bytes=file_bytes,
            limits=limits,
        )

    def under(self, asked: MethodSpec) -> Self:
        """Return the problem with another method.

        Raises:
            UnknownNameError: no such method.
            InvalidSpecError: an option that it does not have, or a value that is not allowed.
        """
        method = methods.find(asked.name)
        options = methods.checked_options(method, asked)
        return replace(self, asked=asked, method=method, options=options)

    def sized(self, networks: Networks) -> Self:
        """Return the problem of one size: the same budget, and no other size any more.

        Args:
            networks: those that were asked for, or the same ones in another size.
        """
        return replace(self, limits=None, size=None if networks == self.networks else networks)

    @property
    def base(self) -> Networks:
        """The networks that the method plans, or that it makes smaller ones of."""
        return self.networks if self.size is None else self.size

    @property
    def contest(self) -> Contest | None:
        """What is raced on the data before anything is trained; None: there is one candidate.

        Sizes under one method race by the rules that `auto` has by default.
        """
        contest = self.method.contest(self.options)
        if contest is not None or self.limits is None:
            return contest
        rules = methods.default_contest()
        return replace(rules, methods=(self.asked,))

    def whole(self, networks: Networks) -> LayerTable:
        """Return all layers of networks that could share."""
        return arch.layer_table(networks, embeddings=self.share_embeddings)

    def free(self, networks: Networks) -> LayerTable:
        """Return the layers of networks that may share: without those of `unshared`."""
        return without(self.whole(networks), self.unshared)

    def networks_for(self, budget: int) -> Networks:
        """Return the networks that the method plans for a budget; 0: for the smallest."""
        return self.method.networks_for(self.base, budget, self.options)


def _check_has_sizes(networks: Networks, budget: BudgetSpec | None) -> None:
    """Refuse what no other size can be planned of.

    Raises:
        InvalidSpecError: several networks, one that is only known as a module, or no budget.
    """
    if len(networks) > 1:
        names = ", ".join(network.name for network in networks)
        raise InvalidSpecError(
            f"search.scale is for a lone network, these are {names}: give one of them, or leave "
            "search out",
            field="/search",
        )
    if networks[0].architecture.module is not None:
        raise InvalidSpecError(
            "search.scale is for networks that have a family: a module of your own has one size, "
            "leave search out",
            field="/search",
        )
    if budget is None:
        raise InvalidSpecError(
            "search.scale offers sizes at the same budget: give a budget, or leave search out",
            field="/budget",
        )
