"""Runs a storm and prints what it did: `python -m benchmarks.chaos --jobs 220 --faults 300`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.storm import Weather, run
from benchmarks.timing import publish


def main() -> int:
    """Run a storm; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=220)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    asked = parser.parse_args()
    began = time.monotonic()
    weather = Weather(
        num_jobs=asked.jobs, num_faults=asked.faults, seed=asked.seed, epochs=asked.epochs
    )
    with tempfile.TemporaryDirectory(prefix="npas-chaos-", ignore_cleanup_errors=True) as folder:
        outcome = run(Path(folder), weather)
    ended = ", ".join(f"{count} {state}" for state, count in sorted(outcome.states.items()))
    told = [outcome.table(), "", *outcome.wrong]
    if missing := FAULTS.keys() - {fault for fault, *_ in outcome.ends}:
        told.append(f"never struck: {', '.join(sorted(missing))}")
    told.append(
        f"{outcome.num_faults} faults over {outcome.states.total()} jobs in "
        f"{time.monotonic() - began:.0f} s: {ended}; {len(outcome.wrong)} things wrong"
    )
    publish("chaos", "\n".join(told), write=asked.write)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
