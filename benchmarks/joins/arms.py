"""The arms of `benchmarks.joining`, the cells that are made of them, and their requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import npas.data
from npas import arch
from npas.arch.matching import resolve_for
from npas.errors import InfeasibleBudgetError
from npas.planning.joining import joined
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import BudgetSpec, JobSpec, NetworkSpec, StartSpec

from benchmarks.arms import as_measured
from benchmarks.joins.settings import JoinSetting

Kind = Literal["pair", "together", "joined", "longer", "unfrozen", "alone"]
METHODS = {"superweights": "SuperWeights", "block_mix": "block mix"}
"""With several networks in one bank, and their titles."""

_KINDS: dict[Kind, str] = {
    "pair": "the two alone",
    "together": "three from the start",
    "joined": "the third joined",
    "longer": "the third joined, twice the epochs",
    "unfrozen": "the third joined, all learn",
}
JOINING: tuple[Kind, ...] = ("joined", "longer", "unfrozen")
LONGER = 2
"""Times as many epochs, which cost less than half of those of three together.

Chosen with another third, pair and data: WRN-22-1 at scale 0.5, WRN-16-2 and WRN-10-2 at 0.4, one
seed on 2,000 images of Fashion-MNIST at 14 pixels. There SuperWeights and block mix, in 6 epochs,
reached 77.8 and 76.6 %, in 12 epochs 81.0 and 80.5 %; from the start 79.2 and 80.2 %. At 2 and 4
times the learning rate: 77.5 and 77.5 %, 78.1 and 78.4 %; at half of it 75.8 and 75.3 %. Where new
coefficients begin as those of the layer that stands nearest: 76.4 and 77.6 %.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to have the third network, or the pair that it joins.

    Attributes:
        title: what it is, in the tables.
        kind: pair: the two in one bank; together: all three in one; joined: the third joins the
            pair's bank, longer: and has more epochs, unfrozen: and all learn; alone: the third,
            sharing with nobody.
        method: of the jobs.
    """

    title: str
    kind: Kind
    method: str


ARMS: dict[str, Arm] = {
    f"{kind}-{method}": Arm(title=f"{title}, {name}", kind=kind, method=method)
    for method, name in METHODS.items()
    for kind, title in _KINDS.items()
} | {
    "alone-dense": Arm(title="the third apart, dense", kind="alone", method="dense"),
    "alone-narrow": Arm(title="the third apart, narrower", kind="alone", method="narrow"),
}
"""In the order of the tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One record to be made."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.arm}-{self.seed}"

    @property
    def pair(self) -> "Cell":
        """The cell whose bank the third network joins."""
        return Cell(arm=f"pair-{ARMS[self.arm].method}", seed=self.seed)


def cells(arms: Sequence[str], seeds: int) -> list[Cell]:
    """Return the cells in an order of which any beginning is useful: seed by seed, all arms."""
    return [Cell(arm=arm, seed=seed) for seed in range(seeds) for arm in arms]


def dense_size(setting: JoinSetting, networks: Sequence[NetworkSpec], data: Path | None) -> int:
    """Return the parameters of networks without sharing."""
    facts = npas.data.facts(setting.dataset, data)
    return arch.layer_table(resolve_for(tuple(networks), facts)).dense


def share(setting: JoinSetting, data: Path | None) -> int:
    """Return the parameters that the third network may add."""
    return BudgetSpec(fraction=setting.share).resolve(dense_size(setting, [setting.third], data))


def job(setting: JoinSetting, cell: Cell, data: Path | None) -> JobSpec:
    """Return the request of a cell that starts from nothing.

    Three from the start have the budget of the pair and what the third may add to it, and
    nothing else is given to one and not to the other.
    """
    arm = ARMS[cell.arm]
    whole = BudgetSpec(fraction=setting.fraction).resolve(dense_size(setting, setting.pair, data))
    match arm.kind:
        case "pair":
            networks, budget = setting.pair, whole
        case "together":
            networks = (*setting.pair, setting.third)
            budget = whole + share(setting, data)
        case _:
            networks, budget = (setting.third,), share(setting, data)
            if arm.method == "dense":
                budget = dense_size(setting, networks, data)
    return _request(setting, networks, arm.method, budget, cell.seed)


def joining_job(
    setting: JoinSetting, cell: Cell, plan: Plan, checkpoint: str, data: Path | None
) -> JobSpec:
    """Return the request of a cell whose third network joins the pair of a file.

    It asks for what the third may add, or, where that is too little, for the least it can.

    Args:
        setting: of all arms.
        cell: of a kind in `JOINING`.
        plan: of the pair.
        checkpoint: SHA-256 of its file.
        data: data folder.
    """
    arm = ARMS[cell.arm]
    budget = share(setting, data)
    request = _request(setting, [setting.third], arm.method, budget, cell.seed)
    try:
        joined(plan, PlanningProblem.of(request, npas.data.facts(setting.dataset, data)))
    except InfeasibleBudgetError as error:
        request = request.model_copy(update={"budget": BudgetSpec(parameters=error.minimum)})
    start = StartSpec(checkpoint=checkpoint, join=True, frozen=arm.kind != "unfrozen")
    times = LONGER if arm.kind == "longer" else 1
    epochs = {"epochs": times * setting.training.epochs}
    training = setting.training.model_copy(update=epochs)
    return request.model_copy(update={"start": start, "training": training})


def _request(
    setting: JoinSetting, networks: Sequence[NetworkSpec], method: str, budget: int, seed: int
) -> JobSpec:
    return JobSpec(
        networks=tuple(networks),
        budget=BudgetSpec(parameters=budget),
        method=as_measured(method),
        dataset=setting.dataset,
        training=setting.training,
        seed=seed,
        corrupted_images=0,
    )
