"""Networks of other libraries, and modules of one's own, that the project has not seen before.

Each is planned, shared, trained for a step, saved and read. Run `python -m benchmarks.unseen`;
`--write` puts the table into docs/architectures.md, `--only hf` takes those of one source.
"""

import argparse
import functools
import tempfile
import time
from collections import Counter
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

from benchmarks.own_modules import Example
from benchmarks.timing import table, write_section
from benchmarks.unseen_modules import FURTHER
from benchmarks.unseen_networks import HF, HF_MODULES, OUTSIDE, TIMM

PAGE = Path(__file__).parent.parent / "docs" / "architectures.md"
FRACTIONS = (0.5, 0.1)
_Modules = Mapping[str, tuple[Callable[[], nn.Module], Callable[[], Example]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One network to try.

    Attributes:
        source: where it comes from.
        name: of it, there.
        architecture: a spec, or the module itself.
        build: makes it, with the same values at every call.
        inputs: makes what it reads, in order or by name.
        is_own: whether it is a module that only its file can be read into.
    """

    source: str
    name: str
    architecture: Callable[[], Any]
    build: Callable[[], nn.Module]
    inputs: Callable[[], Example]
    is_own: bool = False


def listed(specs: Mapping[str, ArchitectureSpec], source: str) -> Iterator[Subject]:
    """Yield networks that architectures of the library name."""
    for name, spec in specs.items():
        resolved = functools.partial(arch.resolve, spec)
        yield Subject(
            source=source,
            name=name,
            architecture=resolved,
            build=functools.partial(_built, resolved),
            inputs=functools.partial(_example, resolved),
        )


def _built(resolved: Callable[[], ArchitectureSpec]) -> nn.Module:
    return arch.build(resolved(), seed=0)


def _example(resolved: Callable[[], ArchitectureSpec]) -> tuple[Tensor]:
    return (arch.example_input(resolved()),)


def modules(found: _Modules, source: str) -> Iterator[Subject]:
    """Yield modules as users write them, or have them of another library."""
    for name, (make, example) in found.items():
        build = functools.partial(_made, make, example)
        yield Subject(
            source=source, name=name, architecture=build, build=build, inputs=example, is_own=True
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
    timm = {name: ArchitectureSpec(name=f"timm:{name}") for name in TIMM}
    outside = {name: ArchitectureSpec(name=f"hf:{name}") for name in OUTSIDE}
    return {
        "timm": list(listed(timm, "timm")),
        "hf": [*listed(HF | outside, "hf"), *modules(HF_MODULES, "hf, as a module")],
        "own": list(modules(FURTHER, "own module")),
    }


def tried(subject: Subject, fraction: float) -> str:
    """Return "equal" where all went well, else why not."""
    try:
        plan = planned(subject, budget={"fraction": fraction})
    except InfeasibleBudgetError as error:
        return f"refused: at least {error.minimum / planned(subject, method='dense').dense:.0%}"
    except NpasError as error:
        return f"refused: {_short(error)}"
    net = npas.share(subject.build(), plan)
    torch.manual_seed(1)
    answers = functools.partial(_answers, inputs=subject.inputs())
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    net.train()
    torch.autograd.backward([each.square().mean() for each in answers(net)])
    optimizer.step()
    count = sum(p.numel() for p in net.parameters() if p.requires_grad)
    if count > plan.ledger.budget:
        return f"FAILED: {count:,} parameters, budget {plan.ledger.budget:,}"
    net.eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.safetensors"
        npas.save(net, path)
        loaded = npas.load(path, into=subject.build()) if subject.is_own else npas.load(path)
        pairs = zip(answers(loaded), answers(net), strict=True)
        is_equal = all(torch.equal(one, other) for one, other in pairs)
    return "equal" if is_equal else "FAILED: other outputs after reading the file"


def planned(subject: Subject, **options: Any) -> npas.Plan:
    """Return a plan of one network; a module of one's own is run once for it."""
    if subject.is_own:
        options["example"] = subject.inputs()
    return npas.plan(subject.architecture(), **options)


def _answers(network: nn.Module, inputs: Example) -> list[Tensor]:
    return _flat(network(**inputs) if isinstance(inputs, Mapping) else network(*inputs))


def _flat(outputs: Any) -> list[Tensor]:
    """Return the tensors that a network answers with, of whatever holds them."""
    if isinstance(outputs, Tensor):
        return [outputs]
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [tensor for each in values for tensor in _flat(each)]


def row(subject: Subject) -> list[str]:
    """Try one network at all budgets and return its row of the table."""
    tries = [_attempt(subject, fraction) for fraction in FRACTIONS]
    return [subject.source, subject.name, _millions(subject), *tries]


def _attempt(subject: Subject, fraction: float) -> str:
    try:
        return tried(subject, fraction)
    except Exception as error:  # whatever it is, it belongs into the table
        return f"FAILED: {type(error).__name__}: {_short(error)}"


def _short(error: Exception) -> str:
    """Return the beginning of what an error says, in one line that a table can hold."""
    told = error.message if isinstance(error, NpasError) else str(error)
    return " ".join(told.split()).replace("|", "/")[:160]


def _millions(subject: Subject) -> str:
    """Return how many parameters a network has, in millions, where it can be told."""
    try:
        return f"{planned(subject, method='dense').dense / 1e6:.2f}"
    except Exception:  # which the tries tell of
        return "unknown"


def summary(rows: list[list[str]]) -> str:
    """Return the counts in a few sentences."""
    sources = Counter(line[0] for line in rows)
    tries = [cell for line in rows for cell in line[3:]]
    equal = sum(cell == "equal" for cell in tries)
    refused = sum(cell.startswith("refused") for cell in tries)
    both = sum(set(line[3:]) == {"equal"} for line in rows)
    return (
        f"{len(rows)} networks ({', '.join(f'{n} {name}' for name, n in sources.items())}), each "
        f"at {' and '.join(f'{f:.0%}' for f in FRACTIONS)} of its size by the default method: of "
        f"{len(tries)} tries {equal} came back from their files with equal outputs, {refused} "
        f"were refused with a reason, {len(tries) - equal - refused} failed. {both} networks "
        "came back at every budget."
    )


def main() -> None:
    """Try all networks, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    parser.add_argument("--only", choices=("timm", "hf", "own"))
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
