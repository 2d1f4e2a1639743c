"""Whether every method trains at the dense network's rate, at its defaults.

    python -m benchmarks.first_step run       # what is missing; stored below benchmarks/records
    python -m benchmarks.first_step report    # the table in docs/benchmarks.md

Each cell is one network, data set, method and budget: how far the first step of plain gradient
descent moves the shared weights, over how far it would move them as plain weights; and the test
accuracy of a short job at the default training options, where a training that diverges is seen.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import npas
import torch
from npas import data
from npas.errors import InfeasibleBudgetError, NonFiniteLossError
from npas.run import run as run_job
from npas.sharing import build
from npas.spec import JobSpec
from npas.testing.networks import first_step

from benchmarks.timing import machine, table, write_section

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "first_step"
PAGE = ROOT / "docs" / "benchmarks.md"

NETWORKS = {
    "ResNet": "resnet-20",
    "WRN": "wrn-16-2",
    "DenseNet": "densenet-40-12",
    "MobileNet": "torchvision:mobilenet_v3_small",
    "ViT": "vit-6-64-4",
}
DATASETS = ("digits", "fashion-mnist")
METHODS: dict[str, dict[str, Any]] = {
    "block_mix": {"name": "block_mix"},
    "superweights": {"name": "superweights"},
    "soft_sharing": {"name": "soft_sharing"},
    "ssn": {"name": "ssn"},
    "ssn, embeddings": {"name": "ssn", "share": "emb"},
    "random": {"name": "random"},
    "uniform": {"name": "uniform"},
}
BUDGETS = (0.5, 0.1)
NUM_IMAGES = 64
"""Of the batch of the first step."""

TRAINING = {"epochs": 2, "batch_size": 64}
"""All else is the default."""

TRAINED = {"accuracy", "diverged"}
"""What is known of a training."""

Cell = tuple[str, str, str, float]


def cells() -> list[Cell]:
    """Return family, data set, method, budget of every cell; dense networks stand for 100 %."""
    dense = [(f, d, "dense", 1.0) for f, d in itertools.product(NETWORKS, DATASETS)]
    return dense + list(itertools.product(NETWORKS, DATASETS, METHODS, BUDGETS))


def spec_of(cell: Cell) -> JobSpec:
    """Return the job of a cell."""
    family, dataset, method, budget = cell
    return JobSpec.model_validate(
        {
            "architecture": NETWORKS[family],
            "dataset": {"name": dataset, "train_images": 1024, "test_images": 360},
            "method": METHODS.get(method, {"name": method}),
            "budget": {"fraction": budget},
            "training": TRAINING,
        }
    )


def stepped(cell: Cell) -> dict[str, Any]:
    """Return the ratio of the first step, or the minimum where the budget is below it."""
    spec = spec_of(cell)
    try:
        plan = npas.plan(spec)
    except InfeasibleBudgetError as error:
        return {"minimum": error.minimum}
    if not plan.groups:
        return {"ratio": None}
    images = data.load(spec.dataset, None)
    inputs = images.inputs(input_size=plan.networks[0].architecture.input_size)
    x, labels = inputs(images.x_train[:NUM_IMAGES]), images.y_train[:NUM_IMAGES].long()
    moved, alone = first_step(build.model(plan, seed=0), x, labels)
    return {"ratio": round(moved / alone, 3)}


def trained(cell: Cell) -> dict[str, Any]:
    """Return the accuracy of a short job, or how it diverged."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = run_job(spec_of(cell), folder=folder, device="cpu").report
        except NonFiniteLossError as error:
            return {"diverged": error.message}
    return {"accuracy": report["accuracy"]}


def path_of(cell: Cell) -> Path:
    """Return where a cell is stored."""
    name = "-".join(map(str, cell)).replace(", ", "_").replace(":", "_")
    return STORE / f"{name}.json"


def stored(cell: Cell) -> dict[str, Any]:
    """Return what is known of a cell."""
    path = path_of(cell)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def run() -> None:
    """Make what is not stored yet: all first steps, then all short trainings."""
    torch.set_num_threads(1)
    STORE.mkdir(parents=True, exist_ok=True)
    for measure, keys in ((stepped, {"ratio", "minimum"}), (trained, TRAINED | {"minimum"})):
        for cell in cells():
            found = stored(cell)
            if keys.isdisjoint(found):
                found |= measure(cell)
                path_of(cell).write_text(json.dumps(found, sort_keys=True) + "\n")
                print(*cell, found, flush=True)


def _told(cell: Cell) -> str:
    """Return one entry of the table."""
    found = stored(cell)
    if "minimum" in found:
        return "infeasible"
    parts = [f"{found['ratio']:.2f}"] if found.get("ratio") else []
    if "diverged" in found:
        parts.append("**diverged**")
    if "accuracy" in found:
        parts.append(f"{found['accuracy']:.0%}")
    return ", ".join(parts) or "-"


def report() -> None:
    """Write the table from the stored cells."""
    parts = [
        f"Ratio of the first step and, where it was run, test accuracy after "
        f"{TRAINING['epochs']} epochs of 1,024 images, batch {TRAINING['batch_size']}, "
        f"all else default; one seed. {machine()}."
    ]
    for dataset in DATASETS:
        rows = [["dense", "100 %", *[_told((f, dataset, "dense", 1.0)) for f in NETWORKS]]]
        rows += [
            [method, f"{budget:.0%}", *[_told((f, dataset, method, budget)) for f in NETWORKS]]
            for method, budget in itertools.product(METHODS, BUDGETS)
        ]
        parts.append(table([dataset, "budget", *NETWORKS.values()], rows))
    write_section(PAGE, "first-step", "\n\n".join(parts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "report"])
    {"run": run, "report": report}[parser.parse_args().command]()
