"""Networks of other libraries, and modules of one's own: planned, shared, trained, read back.

Run `python -m benchmarks.unseen`; `--write` puts the table into docs/architectures.md, `--only hf`
takes those of one source.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npas
import torch
from npas import arch
from npas.errors import InfeasibleBudgetError, NpasError
from npas.spec import ArchitectureSpec
from torch import Tensor, nn

from benchmarks.own_modules import MODULES, Example
from benchmarks.timing import table, write_section
from benchmarks.unseen_networks import HF, TIMM, TORCHVISION

PAGE = Path(__file__).parent.parent / "docs" / "architectures.md"
FRACTIONS = (0.5, 0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One network to try.

    Attributes:
        source: where it comes from.
        name: of it, there.
        architecture: a spec, or the module itself.
        build: makes it, with the same values at every call.
        inputs: makes what it reads, in order or by name.
    """

    source: str
    name: str
    architecture: Callable[[], Any]
    build: Callable[[], nn.Module]
    inputs: Callable[[], Example]

    @property
    def is_own(self) -> bool:
        """Tell whether it is a module that only its file can be read into."""
        return self.source == "own module"


def listed(names: tuple[str, ...], source: str) -> Iterator[Subject]:
    """Yield networks that architectures of the library name."""
    for name in names:
        spec = arch.resolve(ArchitectureSpec(name=name))
        yield Subject(
            source=source,
            name=name.partition(":")[2],
            architecture=functools.partial(_itself, spec),
            build=functools.partial(arch.build, spec, seed=0),
            inputs=functools.partial(_example, spec),
        )


def _itself(spec: ArchitectureSpec) -> ArchitectureSpec:
    return spec


def _example(spec: ArchitectureSpec) -> tuple[Tensor]:
    return (arch.example_input(spec),)


def own() -> Iterator[Subject]:
    """Yield modules as users write them."""
    for name, (make, example) in MODULES.items():
        build = functools.partial(_made, make, example)
        yield Subject(
            source="own module", name=name, architecture=build, build=build, inputs=example
        )


def _made(make: Callable[[], nn.Module], example: Callable[[], Example]) -> nn.Module:
    """Return a module that has run once: then lazy layers know their shapes."""
    torch.manual_seed(0)
    module = make().eval()
    with torch.no_grad():
        _answers(module, example())
    return module


def subjects() -> dict[str, list[Subject]]:
    """Return all networks by source."""
    return {
        "timm": list(listed(tuple(f"timm:{name}" for name in TIMM), "timm")),
        "hf": list(listed(HF, "hf")),
        "torchvision": list(listed(tuple(f"torchvision:{n}" for n in TORCHVISION), "torchvision")),
        "own": list(own()),
    }


def tried(subject: Subject, fraction: float) -> str:
    """Return "equal" where all went well, else why not."""
    try:
        plan = planned(subject, budget={"fraction": fraction})
    except InfeasibleBudgetError as error:
        return f"refused: at least {error.minimum / planned(subject, method='dense').dense:.0%}"
    except NpasError as error:
        return f"refused: {error.message}"
    net = npas.share(subject.build(), plan)
    inputs = subject.inputs()
    answers = functools.partial(_answers, inputs=inputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    net.train()
    torch.autograd.backward(answers(net))
    optimizer.step()
    count = sum(p.numel() for p in net.parameters() if p.requires_grad)
    if count > plan.ledger.budget:
        return f"FAILED: {count:,} parameters, budget {plan.ledger.budget:,}"
    net.eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.safetensors"
        npas.save(net, path)
        loaded = npas.load(path, into=subject.build()) if subject.is_own else npas.load(path)
        is_equal = torch.equal(answers(loaded), answers(net))
    return "equal" if is_equal else "FAILED: other outputs after reading the file"


def planned(subject: Subject, **options: Any) -> npas.Plan:
    """Return a plan of one network; a module of one's own is run once for it."""
    if subject.is_own:
        options["example"] = subject.inputs()
    return npas.plan(subject.architecture(), **options)


def _answers(network: nn.Module, inputs: Example) -> Tensor:
    return _sum(network(**inputs) if isinstance(inputs, Mapping) else network(*inputs))


def _sum(outputs: Any) -> Tensor:
    """Return one number that changes with each output."""
    if isinstance(outputs, Tensor):
        return outputs.float().square().sum()
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    return torch.stack([_sum(each) for each in values]).sum()


def row(subject: Subject) -> list[str]:
    """Try one network at all budgets and return its row of the table."""
    dense = planned(subject, method="dense").dense
    return [
        subject.source,
        subject.name,
        f"{dense / 1e6:.2f}",
        *(_attempt(subject, fraction) for fraction in FRACTIONS),
    ]


def _attempt(subject: Subject, fraction: float) -> str:
    try:
        return tried(subject, fraction)
    except Exception as error:  # whatever it is, it belongs into the table
        return f"FAILED: {type(error).__name__}: {error}"


def summary(rows: list[list[str]]) -> str:
    """Return the counts in a sentence."""
    cells = [cell for line in rows for cell in line[3:]]
    equal = sum(cell == "equal" for cell in cells)
    refused = sum(cell.startswith("refused") for cell in cells)
    return (
        f"{len(rows)} networks, each at {' and '.join(f'{f:.0%}' for f in FRACTIONS)} of its size "
        f"by the default method: of {len(cells)} tries {equal} came back from their files with "
        f"equal outputs, {refused} were refused with a reason, {len(cells) - equal - refused} "
        "failed."
    )


def main() -> None:
    """Try all networks, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    parser.add_argument("--only", choices=("timm", "hf", "torchvision", "own"))
    args = parser.parse_args()
    rows = []
    for source, found in subjects().items():
        for subject in found if args.only in (None, source) else ():
            started = time.monotonic()
            rows.append(row(subject))
            print(rows[-1], f"{time.monotonic() - started:.0f} s", flush=True)
    header = ["from", "network", "millions of parameters"]
    header += [f"at {fraction:.0%}" for fraction in FRACTIONS]
    text = f"{summary(rows)}\n\n{table(header, rows)}"
    print("\n" + text)
    if args.write:
        write_section(PAGE, "unseen", text)


if __name__ == "__main__":
    main()
