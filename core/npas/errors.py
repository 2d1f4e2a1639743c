"""Every error the library raises on purpose: the docstring says when, the message what to do."""

import copyreg
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class NpasError(Exception):
    """Something the caller gave, or a file they named, cannot be used.

    Attributes:
        code: stable word for programs, the same wherever the error is told.
        field: JSON pointer of the part of a job request that is to blame, "" for the whole of it.
    """

    code: ClassVar[str]

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew without __init__, which some classes give other arguments than a message.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # typeshed leaves it out


class InvalidSpecError(NpasError, ValueError):
    """A value of an architecture, budget, method, dataset or training option is not allowed."""

    code = "invalid_spec"


class UnknownNameError(NpasError, LookupError):
    """A name is not in the catalogue; the nearest known names are suggested."""

    code = "unknown_name"

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        nearest: Iterable[str],
        *,
        advice: str = "",
        field: str = "",
    ) -> None:
        self.kind, self.name = kind, name
        self.known, self.nearest = sorted(known), list(nearest)
        hint = f"did you mean {' or '.join(self.nearest)}?" if self.nearest else "see the list"
        shown = ", ".join(self.known[:12]) + (", ..." if len(self.known) > 12 else "")
        message = f"unknown {kind} {name!r}: {hint} (known: {shown})"
        super().__init__(message + (f"; {advice}" if advice else ""), field=field)


class InfeasibleBudgetError(NpasError, ValueError):
    """The budget is below the smallest network this method can make.

    Attributes:
        budget: trainable parameters asked for; of a budget in bytes, bytes of the file.
        minimum: the fewest that this method reaches, likewise.
        alternatives: the same number for every other method, by method name.
        unshared: trainable parameters of the minimum that `unshared` keeps private; 0 where it
            would be no lower without.
        unit: "parameters" or "bytes".
        network: whose minimum it is, where several sizes were tried: the one that goes lowest; ""
            where there was one.
    """

    code = "infeasible_budget"

    def __init__(
        self,
        *,
        method: str,
        budget: int,
        minimum: int,
        alternatives: Mapping[str, int],
        unshared: int = 0,
        unit: str = "parameters",
        network: str = "",
    ) -> None:
        self.unit, self.network = unit, network
        self.method, self.budget, self.minimum = method, budget, minimum
        self.alternatives, self.unshared = dict(alternatives), unshared
        lower = {name: least for name, least in alternatives.items() if least < minimum}
        others = ", ".join(f"{name} {least:,}" for name, least in sorted(lower.items()))
        super().__init__(
            f"a budget of {budget:,} {unit} is below the minimum of {method}, {minimum:,}"
            + (f" on {network}, of all sizes that are offered the lowest" if network else "")
            + (f" ({unshared:,} of them kept private by unshared)" if unshared else "")
            + f"; raise it to at least {minimum:,}"
            + (", or keep fewer layers unshared" if unshared else "")
            + (f", or use a method that goes lower ({others})" if others else ""),
            field="/budget",
        )


class UndeclarableError(NpasError, ValueError):
    """A module computes something that a declared graph cannot say.

    Attributes:
        path: of the module in the network, "" for the whole of it.
        line: "file:line" of what it was doing, "" where it is unknown.
    """

    code = "undeclarable"

    def __init__(self, reason: str, *, path: str = "", line: str = "", field: str = "") -> None:
        self.path, self.line = path, line
        where = f"in {path!r}" if path else "in the module itself"
        super().__init__(f"{where}{f' ({line})' if line else ''}: {reason}", field=field)


class PlanError(NpasError, ValueError):
    """A plan file is damaged, of another version, or does not fit the network."""

    code = "invalid_plan"


class OutdatedPlanError(PlanError):
    """A plan that was promised fits no more: its data or the code changed after it was made."""

    code = "plan_outdated"


class ExportError(NpasError, ValueError):
    """A network cannot be written in a format, or the file does not give what the network does."""

    code = "export_failed"


class CheckpointError(NpasError, ValueError):
    """A checkpoint file is damaged, of another version, or not one of ours."""

    code = "invalid_checkpoint"


class DataError(NpasError, ValueError):
    """A dataset is missing, or its arrays are not what a dataset must hold."""

    code = "dataset_unusable"


class StartError(NpasError, ValueError):
    """The model file that a training begins with is missing, damaged, or of other networks."""

    code = "start_unusable"


class NonFiniteLossError(NpasError, ArithmeticError):
    """The loss became infinite or NaN: the training options do not suit this network."""

    code = "nan_loss"


class TimeLimitError(NpasError, RuntimeError):
    """The request's time was over before there was a network to deliver."""

    code = "timeout"


class TooLargeError(NpasError, ValueError):
    """The training needs more memory than any device has."""

    code = "too_large"


class MissingPackageError(NpasError, ImportError):
    """A package that only some of the library needs is not installed."""

    code = "package_missing"
