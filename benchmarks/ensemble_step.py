"""One training step of several networks on one bank, over the same networks' own dense steps.

Run `python -m benchmarks.ensemble_step` (about 10 minutes on one core); `--write` puts the table
into docs/benchmarks.md. `--quick` measures one row in a minute.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import npas
import torch
from npas.data import Inputs
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec, TrainingSpec
from npas.train.objective import Objective
from npas.train.optimizer import optimizer, take_step
from torch import nn

from benchmarks.ensembles.settings import setting
from benchmarks.timing import publish, ratios, table

FRACTION = 0.5143
"""Of the dense size, of a bank and of a network by itself."""

METHODS: dict[str, dict[str, Any]] = {
    "superweights": {"method": "superweights"},
    "block_mix": {"method": "block_mix", "keep_plain": False},
}
ROUNDS = {32: 9, 128: 5}
"""By batch size."""

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What a step sees: images, uint8 `(N, 3, S, S)`, and labels, int64 `(N,)`."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def drawn(cls, size: int, pixels: int, device: str) -> "Batch":
        """Return random ones."""
        images = torch.randint(0, 256, (size, 3, pixels, pixels), dtype=torch.uint8)
        labels = torch.randint(0, 10, (size,))
        return cls(images=images.to(device), labels=labels.to(device))


def sets() -> dict[str, tuple[NetworkSpec, ...]]:
    """Return the networks that are trained together, by a title of them all."""
    small = setting("small", "cifar10").configurations
    names = ("wrn-16-2", "wrn-16-1", "wrn-10-2", "wrn-10-1")
    plain = [NetworkSpec(name=name, architecture=ArchitectureSpec(name=name)) for name in names]
    found = {f"{each.title}, small": each.networks for each in small.values()}
    return found | {"wrn-16-[2,1] and wrn-10-[2,1]": tuple(plain)}


def ensemble_step(
    model: nn.Module, batch: Batch, pixels: int, *, each: Sequence[str] = (), mutual: float = 0
) -> Work:
    """Return one optimiser step of a model as a job takes it, without changing the images.

    Args:
        model: a plain network, or several that share.
        batch: what it sees.
        pixels: that the networks read.
        each: names of networks; each gets a step in which it alone takes part, one after another.
        mutual: weight of what the networks learn from each other.
    """
    ensemble: dict[str, Any] = {"mutual": mutual}
    spec = TrainingSpec.model_validate({"learning_rate": 0.01, "ensemble": ensemble})
    inputs = Inputs(mean=(0.5,) * 3, std=(0.25,) * 3, input_size=pixels)
    objective = Objective(spec=spec, inputs=inputs, precision=torch.float32)
    mover = optimizer(model, spec)
    turns: list[list[str] | None] = [[name] for name in each] or [None]

    def step() -> None:
        model.train()
        for names in turns:
            mover.zero_grad(set_to_none=True)
            loss, _ = objective(model, batch.images, batch.labels, names)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's
            take_step(mover, model, some_sit_out=names is not None)

    return step


def works(
    networks: Sequence[NetworkSpec], options: dict[str, Any], batch: Batch, device: str
) -> dict[str, Work]:
    """Return what is timed: dense and own steps of all networks in turn, and steps of the bank.

    Args:
        networks: that are trained.
        options: of `npas.plan`: method and its options.
        batch: what all see.
        device: that computes.
    """
    pixels = int(batch.images.shape[-1])
    names = [each.name for each in networks]

    def bank(some: Sequence[NetworkSpec]) -> nn.Module:
        plan = npas.plan(list(some), budget=BudgetSpec(fraction=FRACTION), **options)
        built = {each.name: npas.build(each.architecture, seed=0) for each in some}
        return npas.share(built, plan).to(device)

    def in_turn(models: Sequence[nn.Module]) -> Work:
        steps = [ensemble_step(model, batch, pixels) for model in models]
        return lambda: [step() for step in steps]

    return {
        "dense": in_turn([npas.build(each.architecture, seed=0).to(device) for each in networks]),
        "own": in_turn([bank([each]) for each in networks]),
        "all": ensemble_step(bank(networks), batch, pixels),
        "mutual": ensemble_step(bank(networks), batch, pixels, mutual=0.3),
        "each": ensemble_step(bank(networks), batch, pixels, each=names),
    }


def ensemble_row(
    title: str, networks: Sequence[NetworkSpec], size: int, method: str, rounds: int, device: str
) -> list[str]:
    """Measure one setting and return its row of the table."""
    pixels = networks[0].architecture.input_size
    batch = Batch.drawn(size, pixels if isinstance(pixels, int) else 32, device)
    found = ratios(works(networks, METHODS[method], batch, device), "dense", rounds=rounds)
    numbers = [found[key] for key in ("own", "all", "mutual", "each")]
    texts = [f"{number:.3f}" for number in (*numbers, found["all"] / found["own"])]
    return [f"{title} ({len(networks)})", str(size), method, *texts]


def main() -> None:
    """Measure all settings, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    parser.add_argument("--quick", action="store_true", help="one row only, few rounds")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    chosen = [
        (title, networks, size, method, 3 if args.quick else rounds)
        for title, networks in sets().items()
        for size, rounds in ROUNDS.items()
        for method in METHODS
    ]
    rows = []
    for each in chosen[: 1 if args.quick else None]:
        rows.append(ensemble_row(*each, args.device))
        print(rows[-1], flush=True)
    header = ["networks", "batch", "method", "own banks", "one bank"]
    header += ["one bank, mutual 0.3", "one bank, one at a time", "one bank over own banks"]
    publish("ensemble_step", table(header, rows), write=args.write)


if __name__ == "__main__":
    main()
