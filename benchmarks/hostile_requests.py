"""Malformed requests against real APIs: each gets a problem document, or is in order.

    python -m benchmarks.hostile_requests --number 1000 --seed 1

Graphs and budgets go to `POST /v1/plans` and `POST /v1/jobs` in turn, files of weights to
`POST /v1/datasets`, and then jobs that start from them. Kinds take turns; the order is drawn.
No answer is a 5xx, no process uses more memory than it may, and nothing is left on the disk.
"""

import argparse
import contextlib
import functools
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from npas_local import embedded
from npas_local.environment import environment
from npas_store import migrate

from benchmarks import hostile_budgets, hostile_graphs, hostile_starts
from benchmarks.hostile_service import CAPS, SETTINGS, files, serving, watched
from benchmarks.hostile_uploads import MEGABYTE, Result, Sender, delete_all
from benchmarks.timing import publish

_AT_ONCE = 4
_PATHS = ("/v1/plans", "/v1/jobs")
_RAW = re.compile(rf'"{hostile_budgets.RAW}((?:[^"\\]|\\.)*)"')

Bodies = Callable[[int, int], tuple[str, bool, dict[str, Any]]]
"""(number, seed) -> what is wrong, whether it must be refused, fields of the request."""

Attempt = Callable[[Sender, int, int], Result]
"""(sender, number, seed) -> what became of the request, or the requests, of that number."""


def posted(bodies: Bodies, sender: Sender, number: int, seed: int) -> Result:
    """Send the request of a number in one go, and judge its answer."""
    kind, must_be_refused, fields = bodies(number, seed)
    path = _PATHS[number // 20 % len(_PATHS)]
    body = {"budget": {"fraction": 0.5}, "dataset": "digits", **fields}
    if path == "/v1/plans":
        body.pop("dataset")
    answer = sender.client.post(
        path, content=_written(body), headers={"Content-Type": "application/json"}
    )
    fault = hostile_starts.fault_of(answer, must_be_refused=must_be_refused)
    return Result(kind=kind, outcome=hostile_starts.outcome_of(answer), fault=fault)


def _written(body: Mapping[str, Any]) -> bytes:
    """Return a request as JSON, in which texts that begin with RAW stand as they are."""
    return _RAW.sub(lambda found: json.loads(f'"{found[1]}"'), json.dumps(body)).encode()


SOURCES: Mapping[str, Attempt] = {
    "graph": functools.partial(posted, hostile_graphs.bodies),
    "weights": hostile_starts.start_from_weights,
    "budget": functools.partial(posted, hostile_budgets.budget_bodies),
}
"""Kinds of malformed requests, each from a file of its own."""


def result(sender: Sender, number: int, seed: int) -> Result:
    """Do what has a number; sources take turns."""
    name = list(SOURCES)[number % len(SOURCES)]
    try:
        found = SOURCES[name](sender, number // len(SOURCES), seed)
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return Result(kind=name, outcome="no answer", fault=f"{number}: {error!r}")
    return Result(kind=f"{name}: {found.kind}", outcome=found.outcome, fault=found.fault)


def storm(urls: Sequence[str], *, number: int, seed: int) -> list[Result]:
    """Send so many requests in an order of chance, a few at once; delete what came of them."""
    rng = random.Random(seed)
    order = rng.sample(range(number), number)
    with contextlib.closing(Sender(urls, rng)) as sender:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            results = list(pool.map(lambda each: result(sender, each, seed), order))
        _delete_jobs(sender.client)
        return results + delete_all(sender)


def _delete_jobs(client: httpx.Client) -> None:
    """Cancel and delete all jobs: no worker runs them.

    Raises:
        httpx.HTTPStatusError: one cannot be.
    """
    while found := client.get("/v1/jobs", params={"limit": 100}).raise_for_status().json()["data"]:
        for job in found:
            client.post(f"{job['urls']['self']}/cancel").raise_for_status()
            client.delete(job["urls"]["self"]).raise_for_status()


def table(results: Sequence[Result], peaks: Mapping[str, int]) -> str:
    """Return what happened, as Markdown."""
    counts = Counter((result.kind, result.outcome) for result in results)
    lines = ["| what was wrong | answer | requests |", "|---|---|---|"]
    lines += [f"| {kind} | {outcome} | {n} |" for (kind, outcome), n in sorted(counts.items())]
    lines += ["", "| process | peak memory, MB | cap, MB |", "|---|---|---|"]
    for kind, most in CAPS.items():
        lines.append(f"| {kind} | {peaks.get(kind, 0) / MEGABYTE:.0f} | {most} |")
    return "\n".join(lines)


def main() -> int:
    """Send them and print what happened; 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apis", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npas-hostile-") as folder:
        home = Path(folder)
        with (
            embedded.running(home) as servers,
            environment(
                NPAS_DATABASE_URL=servers.database_url,
                NPAS_REDIS_URL=servers.redis_url,
                NPAS_HOME=folder,
                **SETTINGS,
            ),
        ):
            migrate.upgrade()
            with watched() as peaks, serving(given.apis) as urls:
                before, since = files(home), time.monotonic()
                results = storm(urls, number=given.number, seed=given.seed)
                seconds = time.monotonic() - since
            left = files(home) - before
    faults = [f"{each.kind}: {each.fault}" for each in results if each.fault]
    faults += [f"left on the disk: {path}" for path in sorted(left)]
    too_much = [kind for kind, most in CAPS.items() if peaks.most[kind] > most * MEGABYTE]
    faults += [f"{kind} used more memory than it may" for kind in too_much]
    told = f"{len(results)} requests (seed {given.seed}) in {seconds:.0f} s, {len(faults)} faults"
    text = "\n".join([table(results, peaks.most), "", told, *faults])
    publish("hostile-requests", text, write=given.write)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
