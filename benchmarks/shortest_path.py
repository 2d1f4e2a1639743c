"""The shortest-path task of the soft-sharing paper: a curriculum of five phases, three networks.

    python -m benchmarks.shortest_path run              # what is missing of the small size
    python -m benchmarks.shortest_path steps            # how far one step moves the weights
    python -m benchmarks.shortest_path report           # docs/results.md, from the stored runs
    python -m benchmarks.shortest_path run --size full --device cuda

CNN shares nothing; SCNN mixes as many templates as there are layers; SCNN-R is pulled towards
recurrence as well, as hard as in the paper or a hundred times more gently. One network goes
through all phases with one optimiser. Each run is one JSON file below
benchmarks/records/shortest_path; stopped, `run` goes on with the first that is missing.

Source: Savarese & Maire, "Learning Implicitly Recurrent CNNs Through Parameter Sharing", ICLR
2019. The paper does not say the batch size, nor how examples are held out.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import npas
import torch
from npas import seeds
from npas.data import Dataset, Inputs
from npas.data.shortest_path import EXTENTS, phase
from npas.folding.penalty import recurrence_penalty
from npas.folding.similarity import similarity
from npas.sharing.model import SharedModel
from npas.spec import ArchitectureSpec, MethodSpec, TrainingSpec
from npas.train import Command, Row, Trainer
from npas.train.evaluate import evaluate

from benchmarks.runs import Record, write
from benchmarks.shortest_path_report import STEPS, report
from benchmarks.timing import machine

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "shortest_path"
PAGE = ROOT / "docs" / "results.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One size of the experiment.

    Attributes:
        architecture: of all networks.
        grid: height = width, cells.
        extents: side of the window that holds the second cell, phase by phase.
        num_train: grids of a phase to train on.
        num_test: other grids of each phase.
        epochs: of a phase.
        batch_size: grids per step.
        learning_rate: of Adam, throughout.
    """

    architecture: str
    grid: int
    extents: tuple[int, ...]
    num_train: int
    num_test: int
    epochs: int
    batch_size: int
    learning_rate: float


_HALF = Setting(
    architecture="grid-cnn-10-16",
    grid=16,
    extents=(3, 5, 7, 9, 11),
    num_train=640,
    num_test=160,
    epochs=10,
    batch_size=32,
    learning_rate=0.01,
)

_WIDE = replace(
    _HALF, architecture="grid-cnn-20-16", grid=24, extents=EXTENTS, num_test=96, epochs=6
)

SIZES = {
    # Half of the paper's depth, width, grid and windows, and its learning rate or a third of it.
    "small": _HALF,
    "small-slow": replace(_HALF, learning_rate=0.003),
    # The paper's depth, twice what these windows need.
    "deep": replace(_HALF, architecture="grid-cnn-20-16"),
    # The paper's depth and windows, on the smallest grids that hold them.
    "wide": _WIDE,
    "wide-slow": replace(_WIDE, learning_rate=0.003),
    "full": Setting(
        architecture="grid-cnn-20-32",
        grid=32,
        extents=EXTENTS,
        num_train=5000,
        num_test=1000,
        epochs=50,
        batch_size=64,
        learning_rate=0.01,
    ),
}

NETWORKS: dict[str, dict[str, float] | None] = {
    "CNN": None,
    "SCNN": {},
    "SCNN-R": {"recurrence": 0.01},
    "SCNN-R gently": {"recurrence": 0.0001},
}
"""Options of soft sharing beside the number of templates, one for each layer; None: no sharing."""


def _method(network: str, setting: Setting) -> MethodSpec:
    options = NETWORKS[network]
    if options is None:
        return MethodSpec(name="dense")
    num_layers = int(setting.architecture.split("-")[2])
    return MethodSpec.model_validate({"name": "soft_sharing", "templates": num_layers, **options})


class Curriculum:
    """One network on its way through the phases."""

    def __init__(
        self, setting: Setting, network: str, phases: Sequence[Dataset], seed: int, device: str
    ) -> None:
        """Build the network; the data of the first phase say how all are normalised."""
        self.setting, self.phases, self.seed, self.device = setting, phases, seed, device
        self.inputs: Inputs = phases[0].inputs()
        architecture = ArchitectureSpec(name=setting.architecture, input_size=setting.grid)
        self.plan = npas.plan(architecture, method=_method(network, setting))
        fresh = npas.build(
            self.plan.networks[0].architecture, seed=seeds.number("weights", seed, "main")
        )
        banks = seeds.number("banks", seed)
        self.model: SharedModel = npas.share(fresh, self.plan, seed=banks).to(device)
        self.optimizer: torch.optim.Optimizer | None = None

    def train(self, index: int) -> list[Record]:
        """Train on one phase, from 0; return its epochs, each with F1 on held-out grids."""
        trainer = self.trainer(index)
        if self.optimizer is not None:
            trainer.optimizer = self.optimizer
        self.optimizer = trainer.optimizer
        epochs: list[Record] = []
        trainer.train(
            after_step=lambda: Command.CONTINUE,
            after_epoch=lambda row: epochs.append(
                {
                    "phase": index + 1,
                    "epoch": row.epoch,
                    "train_loss": row.train_loss,
                    "train_f1": row.train_accuracy,
                    "f1": self.f1(index),
                }
            ),
        )
        return epochs

    def trainer(self, index: int) -> Trainer:
        """Return what trains the network on a phase, from 0, with an optimiser of its own."""
        setting = self.setting
        training = TrainingSpec(
            epochs=setting.epochs,
            batch_size=setting.batch_size,
            optimizer="adam",
            learning_rate=setting.learning_rate,
            weight_decay=0.0,
            schedule="constant",
            validation_fraction=0.0,
            keep="last",
        )
        return Trainer(
            self.model,
            self.phases[index],
            training,
            inputs=self.inputs,
            seed=self.seed,
            stage=f"phase {index + 1}",
            device=self.device,
            penalty=recurrence_penalty(self.plan),
        )

    def f1(self, index: int) -> float:
        """Return F1 on the held-out grids of a phase, from 0."""
        held_out = self.phases[index]
        return evaluate(
            self.model, held_out.x_test, held_out.y_test, inputs=self.inputs, device=self.device
        ).score

    def alike(self) -> float | None:
        """Return the mean similarity of two layers' coefficients; None without any."""
        found = similarity(self.model, of="coefficients")
        if not found:
            return None
        (matrix,) = found.values()
        layers = len(matrix)
        return float((matrix.sum() - matrix.trace()) / (layers * (layers - 1)))


def made(
    setting: Setting, network: str, seed: int, phases: Sequence[Dataset], device: str
) -> Record:
    """Make one run and return what is stored of it."""
    started = time.perf_counter()
    way = Curriculum(setting, network, phases, seed, device)
    epochs: list[Record] = []
    before, after, alike = [], [], []
    for index in range(len(phases)):
        before.append(way.f1(index))
        epochs += way.train(index)
        after.append([way.f1(other) for other in range(len(phases))])
        alike.append(way.alike())
        print(f"  phase {index + 1}: F1 {before[-1]:.3f} -> {after[-1][index]:.3f}", flush=True)
    return {
        "network": network,
        "seed": seed,
        "setting": asdict(setting),
        "parameters": way.plan.ledger.total,
        "epochs": epochs,
        "f1_before_phase": before,
        "f1_after_phase": after,
        "layer_similarity_after_phase": alike,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": machine(),
        "versions": {"npas": npas.__version__, "torch": str(torch.__version__)},
    }


def moves(setting: Setting, network: str) -> list[float]:
    """Return how far one step moves a shared weight, over its length: a mean for each epoch.

    The first phase, without the first step of each epoch.
    """
    phases = [
        phase(setting.extents[0], size=setting.grid, num_train=setting.num_train, num_test=1)
    ]
    way = Curriculum(replace(setting, epochs=3), network, phases, 0, "cpu")
    before: list[torch.Tensor] = []
    steps: list[float] = []
    means: list[float] = []

    def after_step() -> Command:
        (plain,) = way.model.materialise().values()
        now = [
            w.detach().clone() for n, w in plain.named_parameters() if n.endswith("conv.weight")
        ]
        pairs = list(zip(now, before, strict=False))[1:]  # the first is the stem
        if pairs:
            steps.append(sum(float((a - b).norm() / b.norm()) for a, b in pairs) / len(pairs))
        before[:] = now
        return Command.CONTINUE

    def after_epoch(_row: Row) -> None:
        means.append(sum(steps) / len(steps))
        steps.clear()
        before.clear()

    way.trainer(0).train(after_step=after_step, after_epoch=after_epoch)
    return means


def run_missing(name: str, networks: Sequence[str], seeds: Sequence[int], device: str) -> None:
    """Make the runs that are not stored yet, seed by seed, and tell how it goes."""
    setting = SIZES[name]
    files = {
        (n, s): STORE / name / f"{n.replace(' ', '-')}-seed{s}.json"
        for s in seeds
        for n in networks
    }
    wanted = [cell for cell, file in files.items() if not file.exists()]
    print(f"{name}: {len(wanted)} runs to make of {len(files)}", flush=True)
    phases = [
        phase(extent, size=setting.grid, num_train=setting.num_train, num_test=setting.num_test)
        for extent in setting.extents
    ]
    for network, seed in wanted:
        print(f"{network}, seed {seed}", flush=True)
        record: dict[str, Any] = made(setting, network, seed, phases, device)
        write(files[network, seed], record)
        print(f"  {record['seconds']:.0f} s", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("report", help="write the section of docs/results.md")
    commands.add_parser("steps", help="measure how far one step moves the weights")
    run = commands.add_parser("run", help="make the runs that are missing")
    run.add_argument("--size", choices=SIZES, default="small")
    run.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    run.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    """Do what the command line says."""
    args = _arguments()
    if args.command == "report":
        report(STORE, PAGE)
    elif args.command == "steps":
        found = {network: moves(SIZES["small"], network) for network in NETWORKS}
        write(STORE / STEPS, {"setting": asdict(SIZES["small"]), "moves": found})
    else:
        run_missing(args.size, args.networks, args.seeds, args.device)


if __name__ == "__main__":
    main()
