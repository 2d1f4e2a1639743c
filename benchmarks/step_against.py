"""Steps of a shared network in this checkout over the same steps in another one, in the same run.

Run `python -m benchmarks.step_against PATH`, PATH being a checkout of
another commit; `--write` puts the table into docs/benchmarks.md. Each checkout runs in a process
of its own, and they take turns.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import npas
import torch

from benchmarks.one_step import METHODS, SETTINGS, evaluation, training_step
from benchmarks.timing import machine, ratios, table, write_section

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
EVALUATIONS = [("wrn-28-2", 1, 101), ("wrn-28-10", 1, 101)]
"""Network, batch size, rounds."""


class Checkout:
    """A process that imports npas from a checkout and runs one step whenever it is told to."""

    def __init__(self, root: Path) -> None:
        """Start it; `root` is the checkout's folder."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.step_against", "--serve"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(root / "core")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        imported = Path(self.ask({"question": "where"}))
        if not imported.is_relative_to(root):
            raise RuntimeError(f"npas was imported from {imported}, not from {root}")

    def ask(self, question: dict[str, object]) -> Any:
        """Return what it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of a checkout ended with {self.process.wait()}")
        return json.loads(answer)

    def step(self) -> Any:
        """Run one step of what was made last."""
        return self.ask({"question": "step"})


def made(network: str, label: str, batch: int, *, trains: bool) -> Callable[[], object]:
    """Return a step of a shared network."""
    model = npas.share(npas.build(network, seed=0), npas.plan(network, **METHODS[label]))
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    return training_step(model, x, y) if trains else evaluation(model, x)


def serve() -> None:
    """Answer questions from standard input, one a line, until it is closed."""
    step: Callable[[], object] | None = None
    for line in sys.stdin:
        question = json.loads(line)
        answer: object = None
        if question["question"] == "where":
            answer = npas.__file__
        elif question["question"] == "make":
            step = made(**question["step"])
        elif step is not None:
            step()
        print(json.dumps(answer), flush=True)


def measured(checkouts: dict[str, Checkout], rounds: int, step: dict[str, object]) -> float:
    """Return the time of a step in this checkout over that in the other one."""
    for checkout in checkouts.values():
        checkout.ask({"question": "make", "step": step})
    work = {name: checkout.step for name, checkout in checkouts.items()}
    return ratios(work, "other", rounds=rounds)["this"]


def compared(other: Path) -> str:
    """Measure all settings and return the table."""
    git = ["git", "-C", str(other), "rev-parse", "--short", "HEAD"]
    commit = subprocess.check_output(git, text=True).strip()
    checkouts = {"this": Checkout(ROOT), "other": Checkout(other)}
    rows = []
    for trains, settings in ((True, SETTINGS), (False, EVALUATIONS)):
        for network, batch, rounds in settings:
            for label in METHODS:
                step = {"network": network, "label": label, "batch": batch, "trains": trains}
                ratio = measured(checkouts, rounds, step)
                kind = "training" if trains else "evaluation"
                rows.append([kind, network, str(batch), label, f"{ratio:.3f}"])
                print(rows[-1], flush=True)
    for checkout in checkouts.values():
        checkout.process.communicate()
    header = ["step", "network", "batch", "method", "this over the other"]
    return f"{machine()}; against {commit}; medians of ratios.\n\n{table(header, rows)}"


def main() -> None:
    """Measure, print, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, nargs="?", help="the folder of the other checkout")
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
    elif args.other is None or not (args.other / "core" / "npas").is_dir():
        parser.error(f"{args.other} is not a folder of a checkout of npas")
    else:
        text = compared(args.other.resolve())
        print("\n" + text)
        if args.write:
            write_section(PAGE, "step-against", text)


if __name__ == "__main__":
    main()
