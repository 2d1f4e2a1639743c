"""One training step of a shared network over one of the same network dense, and the papers' way.

Run `python -m benchmarks.step` (about 7 minutes on 2 cores); `--write` puts the table into
docs/benchmarks.md. `--quick` measures one row in a minute. `--compiled` measures instead what
`torch.compile` and channels-last make of both networks (about half an hour, most of it in the
compiler; `--quick` one setting in 8 minutes).
"""

import argparse
import copy
from pathlib import Path
from typing import Any, cast

import npas
import torch
from npas.sharing.model import SharedModel
from torch import nn

from benchmarks.one_step import COMPILED, METHODS, SETTINGS, evaluation, training_step
from benchmarks.timing import machine, ratios, table, write_section
from benchmarks.twin import Twin

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
COMPILED_SETTINGS = [
    ("wrn-28-2", 32, 15, 1.05),
    ("wrn-28-2", 8, 31, 1.10),
    ("wrn-28-10", 8, 5, 1.10),
]
"""Network, batch size, rounds, highest ratio wanted of compiled channels-last networks."""

MODES = ("as they are", "channels-last", "compiled", "both")

TARGETS = {("wrn-28-2", 128): 1.03, ("wrn-28-2", 32): 1.05}
"""Highest ratio wanted; 1.12 elsewhere."""


def networks(name: str, options: dict[str, Any]) -> tuple[nn.Module, SharedModel, Twin]:
    """Return the dense network, the shared one, and its twin with the same weights."""
    plan = npas.plan(name, **options)
    shared = npas.share(npas.build(name, seed=0), plan)
    return npas.build(name, seed=0), shared, Twin(copy.deepcopy(shared))


def check(shared: SharedModel, twin: Twin) -> None:
    """Make sure that the twin is one: equal logits within rounding."""
    x = torch.randn(4, 3, 32, 32)
    shared.eval()
    twin.eval()
    with torch.no_grad():
        torch.testing.assert_close(shared(x), twin(x), rtol=1e-3, atol=1e-3)


def row(name: str, batch: int, rounds: int, label: str, device: str) -> list[str]:
    """Measure one setting and return its row of the table."""
    dense, shared, twin = networks(name, METHODS[label])
    check(shared, twin)
    x = torch.randn(batch, 3, 32, 32, device=device)
    y = torch.randint(0, 10, (batch,), device=device)
    models = {"dense": dense.to(device), "shared": shared.to(device), "twin": twin.to(device)}
    steps = {key: training_step(model, x, y) for key, model in models.items()}
    found = ratios(steps, "dense", rounds=rounds)
    target = TARGETS.get((name, batch), 1.12)
    met = "yes" if found["shared"] <= target and found["shared"] < found["twin"] else "no"
    numbers = [f"{found['shared']:.3f}", f"{found['twin']:.3f}", f"{target:.2f}", met]
    return [name, str(batch), label, *numbers]


def evaluation_row(name: str, label: str, device: str, rounds: int) -> list[str]:
    """Measure evaluation of one image and return its row of the table."""
    dense, shared, twin = networks(name, METHODS[label])
    x = torch.randn(1, 3, 32, 32, device=device)
    models = {"dense": dense.to(device), "shared": shared.to(device), "twin": twin.to(device)}
    found = ratios({k: evaluation(m, x) for k, m in models.items()}, "dense", rounds=rounds)
    met = "yes" if found["shared"] <= 1.02 else "no"
    return [name, label, f"{found['shared']:.3f}", f"{found['twin']:.3f}", "1.02", met]


def mode_ratios(mode: str, name: str, batch: int, rounds: int, device: str) -> dict[str, float]:
    """Return each method's step over the dense step, all networks treated alike.

    Args:
        mode: one of `MODES`.
        name: of the network.
        batch: images of a step.
        rounds: how often each step is taken.
        device: that computes.
    """
    torch.compiler.reset()
    is_last, is_compiled = mode in ("channels-last", "both"), mode in ("compiled", "both")
    format_ = torch.channels_last if is_last else torch.contiguous_format
    x = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=format_)
    y = torch.randint(0, 10, (batch,), device=device)
    models: dict[str, nn.Module] = {"dense": npas.build(name, seed=0)}
    for label, options in COMPILED.items():
        models[label] = npas.share(npas.build(name, seed=0), npas.plan(name, **options))
    steps = {}
    for label, model in models.items():
        placed = model.to(device).to(memory_format=format_)
        stepped = cast(nn.Module, torch.compile(placed)) if is_compiled else placed
        steps[label] = training_step(stepped, x, y)
    return ratios(steps, "dense", rounds=rounds)


def compiled_rows(
    name: str, batch: int, rounds: int, target: float, device: str
) -> list[list[str]]:
    """Measure one setting in all modes and return its rows of the table."""
    found = [mode_ratios(mode, name, batch, rounds, device) for mode in MODES]
    return [
        [
            *(name, str(batch), label),
            *(f"{each[label]:.3f}" for each in found),
            *(f"{target:.2f}", "yes" if found[-1][label] <= target else "no"),
        ]
        for label in COMPILED
    ]


def compiled(device: str, *, is_quick: bool) -> str:
    """Measure all settings and return the table."""
    rows = []
    for setting in COMPILED_SETTINGS[1:2] if is_quick else COMPILED_SETTINGS:
        rows += compiled_rows(*setting, device)
        print(*rows[-len(COMPILED) :], sep="\n", flush=True)
    header = ["network", "batch", "method", *MODES, "target", "met"]
    note = "medians of ratios over the dense step in the same mode, float32."
    return f"{machine()}; {note}\n\n{table(header, rows)}"


def main() -> None:
    """Measure all settings, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    parser.add_argument("--quick", action="store_true", help="one row only, few rounds")
    parser.add_argument("--compiled", action="store_true", help="compiled, channels-last")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.compiled:
        text = compiled(args.device, is_quick=args.quick)
        print("\n" + text)
        if args.write:
            write_section(PAGE, "step-compiled", text)
        return
    settings = [("wrn-28-2", 32, 5)] if args.quick else SETTINGS
    rows = []
    for name, batch, rounds in settings:
        for label in METHODS:
            rows.append(row(name, batch, rounds, label, args.device))
            print(rows[-1], flush=True)
    header = ["network", "batch", "method", "npas", "papers' way", "target", "met"]
    text = f"{machine()}; medians of ratios over the dense step, float32.\n\n{table(header, rows)}"
    evaluated = []
    for name in ("wrn-28-2", "wrn-28-10")[: 1 if args.quick else 2]:
        for label in METHODS:
            evaluated.append(evaluation_row(name, label, args.device, 11 if args.quick else 101))
            print(evaluated[-1], flush=True)
    header = ["network", "method", "npas", "papers' way", "target", "met"]
    text += f"\n\nEvaluation of one image, weights cached:\n\n{table(header, evaluated)}"
    print("\n" + text)
    if args.write:
        write_section(PAGE, "step", text)


if __name__ == "__main__":
    main()
