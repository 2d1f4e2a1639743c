"""What folding costs and saves: soft sharing trained with and without a pull towards recurrence.

    python -m benchmarks.folding run       # some minutes: trains, folds, stores one file a network
    python -m benchmarks.folding report    # docs/results.md and docs/images/similarity.svg

A network that is stored is not trained again; delete its file to have it made anew.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import npas
import torch
from npas import data
from npas.artifacts.similarity import similarity_svg
from npas.folding.loops import Looped
from npas.folding.similarity import History
from npas.plans import Plan
from npas.run import Outcome, run
from npas.spec import JobSpec
from npas.train import read, saved
from npas.train.evaluate import evaluate

from benchmarks.timing import table, write_section

ROOT = Path(__file__).parent.parent
STORE = ROOT / "benchmarks" / "records" / "folding"
PAGE = ROOT / "docs" / "results.md"
PICTURE = ROOT / "docs" / "images" / "similarity.svg"
DRAWN_EPOCHS = 5
BATCH = 128
DIGITS = 3
"""Decimals of stored similarities."""

THRESHOLDS = (0.99, 0.95, 0.9, 0.8)
STRENGTHS = (0.0, 0.01, 0.1)
"""Of the pull towards recurrence."""


def job(strength: float, seed: int, arguments: argparse.Namespace) -> JobSpec:
    """Return the request of one network."""
    return JobSpec.model_validate(
        {
            "architecture": arguments.architecture,
            "budget": {"fraction": 1.5},
            "dataset": arguments.dataset,
            "method": {
                "name": "soft_sharing",
                "templates": arguments.templates,
                "recurrence": strength,
            },
            "training": {
                "epochs": arguments.epochs,
                "batch_size": 64,
                "keep": "last",
                "validation_fraction": 0.0,
            },
            "seed": seed,
        }
    )


def made(strength: float, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one network and fold it at every threshold."""
    spec = job(strength, seed, arguments)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(spec, folder=Path(folder), device="cpu", checkpoint_seconds=0)
        history = _history(outcome, Path(folder))
        model = npas.load(outcome.files["model.safetensors"])
    return {
        "strength": strength,
        "seed": seed,
        "request": spec.model_dump(mode="json", exclude_unset=True),
        "accuracy": outcome.report["accuracy"],
        "test_images": outcome.report["test_images"],
        "parameters": outcome.plan.ledger.total,
        "dense": outcome.plan.ledger.dense,
        "folds": [_folded(model, threshold, spec) for threshold in THRESHOLDS],
        "plan": outcome.plan.to_json(),
        "history": history,
    }


def _history(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """Return the matrices of the epochs that a picture shows, rounded."""
    history = History()
    history.restore(outcome.plan, read(saved(folder / "state")[0]).tensors)
    last = len(history.epochs) - 1
    chosen = sorted({round(n * last / (DRAWN_EPOCHS - 1)) for n in range(DRAWN_EPOCHS)})
    return {
        "epochs": [history.epochs[index] for index in chosen],
        "matrices": {
            name: [
                [[round(v, DIGITS) for v in row] for row in found[index].tolist()]
                for index in chosen
            ]
            for name, found in history.matrices.items()
        },
    }


def _folded(model: npas.SharedModel, threshold: float, spec: JobSpec) -> dict[str, Any]:
    """Fold, and grade the network as it runs, in loops, before and after a recalibration."""
    folded, dataset = npas.fold(model, threshold), data.load(spec.dataset)
    looped, inputs = Looped(folded.model), dataset.inputs()
    before = evaluate(looped, dataset.x_test, dataset.y_test, inputs=inputs).score
    batches = torch.split(dataset.x_train, BATCH)
    npas.recalibrate(looped, map(inputs, batches))
    after = evaluate(looped, dataset.x_test, dataset.y_test, inputs=inputs).score
    return {
        "threshold": threshold,
        "parameters": folded.model.plan.ledger.total,
        "accuracy": before,
        "recalibrated": after,
        "layers": sum(group.layers for group in folded.groups),
        "distinct": sum(group.distinct for group in folded.groups),
        "loops": [[place.module, place.blocks, place.steps] for place in looped.places()],
    }


def run_missing(arguments: argparse.Namespace) -> None:
    """Train what is not stored, and tell."""
    torch.set_num_threads(arguments.threads)
    arguments.store.mkdir(parents=True, exist_ok=True)
    for strength in arguments.strengths:
        for seed in range(arguments.seeds):
            path = arguments.store / f"{strength:g}-{seed}.json"
            if not path.exists():
                record = made(strength, seed, arguments)
                path.write_text(json.dumps(record, separators=(",", ":")) + "\n")
                folds = [(f["threshold"], f["distinct"], f["accuracy"]) for f in record["folds"]]
                print(path.stem, record["accuracy"], folds, flush=True)


def report(store: Path, page: Path, picture: Path) -> None:
    """Write the table into the page, and draw one network's similarities."""
    records = [json.loads(path.read_text()) for path in sorted(store.glob("*.json"))]
    strengths = sorted({record["strength"] for record in records})
    rows = [
        _row(strength, threshold, [r for r in records if r["strength"] == strength])
        for strength in strengths
        for threshold in THRESHOLDS
    ]
    header = [
        "recurrence",
        "fold at",
        "distinct layers",
        "parameters",
        "accuracy",
        "change",
        "recalibrated",
    ]
    write_section(page, "folding", f"{_heading(records)}\n\n{table(header, rows)}")
    between = strengths[len(strengths) // 2]
    drawn = next(r for r in records if r["strength"] == between and r["seed"] == 0)
    picture.write_text(_drawn(drawn))


def _heading(records: list[dict[str, Any]]) -> str:
    request, seeds = records[0]["request"], {record["seed"] for record in records}
    training = request["training"]
    return (
        f"{request['architecture']['name']} with {request['method']['templates']} templates for "
        f"each group, {request['dataset']['name']}, {training['epochs']} epochs, {len(seeds)} "
        f"seeds, {records[0]['test_images']} test images; dense, the network has "
        f"{records[0]['dense']:,} parameters. Means over the seeds; changes are in points, "
        "with the range of the seeds; recalibrated: the statistics of normalisations are measured "
        "anew.\n\n![Similarity of the layers over the epochs](images/"
        f"{PICTURE.name})"
    )


def _row(strength: float, threshold: float, records: list[dict[str, Any]]) -> list[str]:
    pairs = [(r, f) for r in records for f in r["folds"] if f["threshold"] == threshold]
    mean = statistics.mean
    before = mean(r["parameters"] for r, _ in pairs)
    return [
        f"{strength:g}",
        f"{threshold:g}",
        f"{mean(f['distinct'] for _, f in pairs):.1f} of {pairs[0][1]['layers']}",
        f"{before:,.0f} to {mean(f['parameters'] for _, f in pairs):,.0f}",
        f"{mean(100 * r['accuracy'] for r, _ in pairs):.2f} %",
        _range([f["accuracy"] - r["accuracy"] for r, f in pairs]),
        _range([f["recalibrated"] - r["accuracy"] for r, f in pairs]),
    ]


def _range(changes: list[float]) -> str:
    points = [100 * change for change in changes]
    return f"{statistics.mean(points):+.2f} ({min(points):+.2f} to {max(points):+.2f})"


def _drawn(record: dict[str, Any]) -> str:
    plan, history = Plan.from_json(record["plan"]), History()
    history.epochs = record["history"]["epochs"]
    history.matrices = {
        name: [torch.tensor(matrix) for matrix in found]
        for name, found in record["history"]["matrices"].items()
    }
    name = plan.networks[0].architecture.name
    return similarity_svg(plan, history, f"{name}, recurrence {record['strength']:g}")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the networks' files")
    commands.add_parser("report", help="write docs/results.md from what is stored")
    runs = commands.add_parser("run", help="make what is missing")
    runs.add_argument("--architecture", default="wrn-28-1")
    runs.add_argument("--dataset", default="digits")
    runs.add_argument("--templates", type=int, default=4)
    runs.add_argument("--epochs", type=int, default=8)
    runs.add_argument("--seeds", type=int, default=3)
    runs.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS)
    runs.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "run":
        run_missing(arguments)
    else:
        report(arguments.store, PAGE, PICTURE)


if __name__ == "__main__":
    main()
