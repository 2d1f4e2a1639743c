"""Ratios of times of one run: every round runs all candidates once, medians of ratios."""

import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Work = Callable[[], object]


def ratios(work: Mapping[str, Work], baseline: str, *, rounds: int) -> dict[str, float]:
    """Return each candidate's time over the baseline's: the median over rounds.

    In a round every candidate runs once, in an order that turns from round to round, so that
    what else the machine does meets all of them alike.

    Args:
        work: what to run, by name; called twice before anything is timed.
        baseline: a name in `work`.
        rounds: how many.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for run in work.values():
        run()
        run()
    names = list(work)
    gc.disable()
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            work[name]()
            times[name].append(time.perf_counter() - start)
    gc.enable()
    base = times[baseline]
    return {
        name: statistics.median(own / other for own, other in zip(taken, base, strict=True))
        for name, taken in times.items()
    }


_PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"


def machine() -> str:
    """Return the machine in words: processor, cores, versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{model}, {torch.get_num_threads()} threads{device}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the page's markers `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: the page has no such markers.
    """
    old = page.read_text()
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if start not in old or end not in old:
        raise ValueError(f"{page} has no section {name}")
    head, _, rest = old.partition(start)
    page.write_text(head + start + text.rstrip() + "\n" + end + rest.partition(end)[2])


def publish(name: str, text: str, *, write: bool) -> None:
    """Print what was measured; with `write` it becomes a section of docs/benchmarks.md, too."""
    print(text, flush=True)
    if write:
        write_section(_PAGE, name, f"{machine()}\n\n{text}")
