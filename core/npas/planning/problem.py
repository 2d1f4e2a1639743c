"""What is to be planned: networks, budget and method, each resolved and checked once."""

from dataclasses import dataclass, replace
from typing import Self

from npas import arch, methods
from npas.arch.layers import LayerTable
from npas.arch.matching import resolve_for
from npas.arch.unshared import without
from npas.data import Dataset, Facts
from npas.methods import Method
from npas.spec import BudgetSpec, MethodSpec, NetworkSpec, PlanRequest, Spec

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
    """

    networks: Networks
    budget: int | None
    asked: MethodSpec
    method: Method
    options: Spec
    unshared: tuple[str, ...]
    share_embeddings: bool
    file_bytes: int | None = None

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
    ) -> Self:
        """Return the problem of networks that have all their sizes; the errors are those of `of`.

        Args:
            networks: with all sizes.
            budget: None: no limit but the method's own.
            asked: the method and its options.
            unshared: layers that keep their own weights.
            share_embeddings: whether embeddings may share, too.
        """
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

    def whole(self, networks: Networks) -> LayerTable:
        """Return all layers of networks that could share."""
        return arch.layer_table(networks, embeddings=self.share_embeddings)

    def free(self, networks: Networks) -> LayerTable:
        """Return the layers of networks that may share: without those of `unshared`."""
        return without(self.whole(networks), self.unshared)

    def networks_for(self, budget: int) -> Networks:
        """Return the networks that the method plans for a budget; 0: for the smallest."""
        return self.method.networks_for(self.networks, budget, self.options)
