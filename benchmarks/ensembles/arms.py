"""The arms of `benchmarks.ensemble`, and the cells that are made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import npas
import torch
from npas import seeds
from npas.data import Facts
from npas.spec import BudgetSpec, JobSpec
from torch import nn

from benchmarks.arms import as_measured
from benchmarks.ensembles.settings import Configuration, Setting
from benchmarks.peers.batch_ensemble import BatchEnsemble
from benchmarks.peers.early_exit import EarlyExit
from benchmarks.peers.fitting import largest_scale
from benchmarks.peers.mimo import Mimo
from benchmarks.peers.packed import PackedEnsemble
from benchmarks.peers.skeleton import Shape

MEMBERS = 4
"""Of BatchEnsemble and Packed-Ensembles, as in their papers."""

ALPHA, GAMMA = 2.0, 1
"""Of Packed-Ensembles: with 4 members as many parameters as the one network, about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to have several answers.

    Attributes:
        title: what it is, in the tables.
        kind: shared: one job of all networks; apart: a job for each; peer: a network of its own.
        method: of the jobs.
        is_within: whether it has the parameters of the bank, or fewer.
    """

    title: str
    kind: Literal["shared", "apart", "peer"]
    method: str = ""
    is_within: bool = True


ARMS: dict[str, Arm] = {
    "shared-superweights": Arm(
        title="one bank, SuperWeights", kind="shared", method="superweights"
    ),
    "shared-block_mix": Arm(title="one bank, block mix", kind="shared", method="block_mix"),
    "separate-narrow": Arm(title="separate, narrower", kind="apart", method="narrow"),
    "batch-ensemble": Arm(title=f"BatchEnsemble x{MEMBERS}", kind="peer"),
    "packed": Arm(title=f"Packed-Ensembles x{MEMBERS}", kind="peer"),
    "mimo": Arm(title="MIMO", kind="peer"),
    "early-exit": Arm(title="early exits", kind="peer"),
    "separate-full": Arm(title="separate, full", kind="apart", method="dense", is_within=False),
}
"""In the order of the tables."""

EARLY_EXIT = "early-exit"
SHARED = tuple(name for name, arm in ARMS.items() if arm.kind == "shared")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One record to be made: all members of an arm, for a configuration and a seed."""

    configuration: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.configuration}-{self.arm}-{self.seed}"


def cells(arms: Sequence[str], configurations: Sequence[str], seeds: int) -> list[Cell]:
    """Return the cells in an order of which any beginning is useful: seed by seed, all arms."""
    return [
        Cell(configuration=configuration, arm=arm, seed=seed)
        for seed in range(seeds)
        for configuration in configurations
        for arm in arms
    ]


def shared_job(setting: Setting, configuration: Configuration, method: str, seed: int) -> JobSpec:
    """Return the request for all networks of a configuration in one bank."""
    return JobSpec(
        networks=configuration.networks,
        budget=BudgetSpec(fraction=configuration.fraction),
        method=as_measured(method),
        dataset=setting.dataset,
        training=setting.training,
        seed=seed,
    )


def jobs(setting: Setting, cell: Cell) -> dict[str, JobSpec]:
    """Return the requests of a cell by name, the same that a user would send; a peer has none.

    Networks trained apart get the bank's fraction of their own dense size, or all of it, and a
    seed of their own.
    """
    configuration, arm = setting.configurations[cell.configuration], ARMS[cell.arm]
    if arm.kind == "shared":
        return {"all": shared_job(setting, configuration, arm.method, cell.seed)}
    if arm.kind == "peer":
        return {}
    fraction = configuration.fraction if arm.is_within else 1.0
    return {
        each.name: JobSpec(
            networks=(each,),
            budget=BudgetSpec(fraction=fraction),
            method=as_measured(arm.method),
            dataset=setting.dataset,
            training=setting.training,
            seed=1000 * number + cell.seed,
        )
        for number, each in enumerate(configuration.networks)
    }


def budget(configuration: Configuration, sizes: Facts) -> int:
    """Return the parameters of a configuration's bank."""
    num_classes, input_channels, _ = sizes.sizes
    dense = 0
    for each in configuration.networks:
        spec = each.architecture.model_copy(
            update={"num_classes": num_classes, "input_channels": input_channels}
        )
        dense += sum(p.numel() for p in npas.build(spec, device="meta").parameters())
    return BudgetSpec(fraction=configuration.fraction).resolve(dense)


def peer(setting: Setting, cell: Cell, sizes: Facts) -> nn.Module:
    """Return the untrained network of a peer: of the depth of the largest network, of its shape.

    It is as wide as the bank's parameters allow. What is drawn depends on the cell's seed alone.
    """
    configuration = setting.configurations[cell.configuration]
    build = _builder(setting, cell, sizes)
    scale = largest_scale(build, budget(configuration, sizes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.number("peer", cell.arm, cell.seed))
        return build(scale)


def _builder(setting: Setting, cell: Cell, sizes: Facts) -> Callable[[float], nn.Module]:
    largest = setting.configurations[cell.configuration].networks[0].architecture
    _, depth, width = largest.name.split("-")

    def build(scale: float) -> nn.Module:
        shape = Shape(
            depth=int(depth),
            width=int(width),
            scale=scale,
            num_classes=sizes.num_classes,
            input_channels=sizes.input_channels,
        )
        match cell.arm:
            case "batch-ensemble":
                return BatchEnsemble(shape, members=MEMBERS)
            case "packed":
                return PackedEnsemble(shape, members=MEMBERS, alpha=ALPHA, gamma=GAMMA)
            case "mimo":
                return Mimo(shape, heads=setting.heads)
            case _:
                return EarlyExit(shape)

    return build
