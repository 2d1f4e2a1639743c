"""Malformed requests against real APIs: each gets a problem document, or is in order.

    python -m benchmarks.hostile_requests --number 1000 --seed 1

They go to `POST /v1/plans` and `POST /v1/jobs` in turn. No answer is a 5xx, and no process uses
more memory than it may. Each kind of request is a file with `bodies(number, seed)`, in `SOURCES`.
"""

import argparse
import json
import random
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

from benchmarks import hostile_graphs
from benchmarks.hostile_service import CAPS, serving, watched
from benchmarks.hostile_uploads import MEGABYTE, Result
from benchmarks.timing import publish

_AT_ONCE = 4
_PATHS = ("/v1/plans", "/v1/jobs")
_KINDS = ("API", "planner")

Bodies = Callable[[int, int], tuple[str, bool, dict[str, Any]]]
"""(number, seed) -> what is wrong, whether it must be refused, fields of the request."""

SOURCES: Mapping[str, Bodies] = {"graph": hostile_graphs.bodies}
"""Kinds of malformed requests, each from a file of its own."""


def result(client: httpx.Client, number: int, seed: int) -> Result:
    """Send the request of a number, and judge its answer."""
    name = list(SOURCES)[number % len(SOURCES)]
    kind, must_be_refused, fields = SOURCES[name](number // len(SOURCES), seed)
    path = _PATHS[number // (len(SOURCES) * 20) % len(_PATHS)]
    body = {"budget": {"fraction": 0.5}, "dataset": "digits", **fields}
    if path == "/v1/plans":
        body.pop("dataset")
    answer = client.post(
        path, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    return Result(
        kind=f"{name}: {kind}",
        outcome=_outcome(answer),
        fault=_fault(answer, must_be_refused),
    )


def _outcome(answer: httpx.Response) -> str:
    if answer.is_success:
        return f"{answer.status_code}, in order"
    try:
        return f"{answer.status_code} {answer.json().get('code')}"
    except ValueError:
        return f"{answer.status_code}, no JSON"


def _fault(answer: httpx.Response, must_be_refused: bool) -> str:
    if answer.is_success:
        return f"taken: {answer.request.content[:2000]!r}" if must_be_refused else ""
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    if answer.status_code >= 500 or not is_problem:
        return f"{answer.status_code} {answer.text[:300]} to {answer.request.content[:2000]!r}"
    told = answer.json()
    is_told = told.get("code") and told.get("detail")
    return "" if is_told else f"says nothing: {answer.text[:300]}"


def storm(urls: Sequence[str], *, number: int, seed: int) -> list[Result]:
    """Send so many requests, a few at once."""
    rng = random.Random(seed)
    clients = [httpx.Client(base_url=url, timeout=120) for url in urls]
    chosen = [rng.choice(clients) for _ in range(number)]

    def send(each: int) -> Result:
        try:
            return result(chosen[each], each, seed)
        except httpx.HTTPError as error:
            return Result(kind="any", outcome="no answer", fault=f"{each}: {error!r}")

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(send, range(number)))
    finally:
        for client in clients:
            client.close()


def table(results: Sequence[Result], peaks: Mapping[str, int]) -> str:
    """Return what happened, as Markdown."""
    counts = Counter((result.kind, result.outcome) for result in results)
    lines = ["| what was wrong | answer | requests |", "|---|---|---|"]
    lines += [f"| {kind} | {outcome} | {n} |" for (kind, outcome), n in sorted(counts.items())]
    lines += ["", "| process | peak memory, MB | cap, MB |", "|---|---|---|"]
    for kind in _KINDS:
        lines.append(f"| {kind} | {peaks.get(kind, 0) / MEGABYTE:.0f} | {CAPS[kind]} |")
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
            ),
        ):
            migrate.upgrade()
            with watched() as peaks, serving(given.apis) as urls:
                since = time.monotonic()
                results = storm(urls, number=given.number, seed=given.seed)
                seconds = time.monotonic() - since
    faults = [f"{each.kind}: {each.fault}" for each in results if each.fault]
    too_much = [kind for kind in _KINDS if peaks.most[kind] > CAPS[kind] * MEGABYTE]
    faults += [f"{kind} used more memory than it may" for kind in too_much]
    told = f"{len(results)} requests in {seconds:.0f} s, {len(faults)} faults"
    text = "\n".join([table(results, peaks.most), "", told, *faults])
    publish("hostile-requests", text, write=given.write)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
