"""Many clients that watch jobs, and lose their connections: `python -m benchmarks.api.watchers`.

A process: it reads `Watching` as JSON from its standard input, follows the streams until every job
has ended, and prints `Watched` as JSON. Each watcher comes back with the last id that it saw, as
browsers do, and expects the events of its job to be 1, 2, 3, ... without a gap or a repetition.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Watching:
    """Who watches what.

    Attributes:
        jobs: ids; watchers are dealt out among them.
        stays: seconds for which a connection is kept, on average.
    """

    port: int
    jobs: Sequence[str]
    watchers: int
    stays: float
    seed: int = 1


@dataclass(kw_only=True, slots=True)
class Watched:
    """What they saw.

    Attributes:
        last: of each job, the number of its last event, which each of its watchers saw.
        faults: sentences.
    """

    events: int = 0
    reconnects: int = 0
    last: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class _Watcher:
    def __init__(self, watching: Watching, number: int, found: Watched) -> None:
        self._port, self._stays = watching.port, watching.stays
        self._job = watching.jobs[number % len(watching.jobs)]
        self._rng = random.Random(f"{watching.seed} {number}")
        self._found, self._seen, self._has_ended = found, 0, False

    async def watch(self) -> None:
        """Follow the job to its end, over as many connections as it takes."""
        while not self._has_ended:
            stays = self._rng.expovariate(1 / self._stays)
            try:
                async with asyncio.timeout(stays):
                    await self._follow()
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                pass
            self._found.reconnects += not self._has_ended
        known = self._found.last.setdefault(self._job, self._seen)
        if known != self._seen:
            self._found.faults.append(f"{self._job}: one saw {known} events, one {self._seen}")

    async def _follow(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = f"GET /v1/jobs/{self._job}/events HTTP/1.0\r\nHost: localhost\r\n"
            head += f"Accept: text/event-stream\r\nLast-Event-ID: {self._seen}\r\n\r\n"
            writer.write(head.encode())
            status = await reader.readuntil(b"\r\n\r\n")
            if b" 204 " in status[:20]:
                self._has_ended = True
                return
            if b" 200 " not in status[:20]:
                self._found.faults.append(f"{self._job}: {status[:60]!r}")
                await asyncio.sleep(1)
                return
            while True:
                self._take(await reader.readuntil(b"\n\n"))
        finally:
            writer.transport.abort()

    def _take(self, frame: bytes) -> None:
        lines = [line.partition(b": ") for line in frame.strip().splitlines()]
        fields = {name.split(b" ")[-1]: value for name, _, value in lines}
        if fields.get(b"event") == b"end":
            self._has_ended = True
        elif b"id" in fields:
            seq = int(fields[b"id"])
            if seq != self._seen + 1:
                self._found.faults.append(f"{self._job}: {seq} came after {self._seen}")
            self._seen = seq
            self._found.events += 1


async def follow(watching: Watching) -> Watched:
    """Have them all watch, and return what they saw."""
    found = Watched()
    watchers = [_Watcher(watching, number, found) for number in range(watching.watchers)]
    async with asyncio.TaskGroup() as group:
        for watcher in watchers:
            group.create_task(watcher.watch())
            await asyncio.sleep(0.005)
    return found


def started(watching: Watching) -> "subprocess.Popen[str]":
    """Start the process; `ended` waits for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.api.watchers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(watching)))
    process.stdin.close()
    process.stdin = None
    return process


def ended(process: "subprocess.Popen[str]") -> Watched:
    """Wait for the process, and return what its watchers saw."""
    text, _ = process.communicate()
    return Watched(**json.loads(text))


def main() -> int:
    """Read what to watch, watch it, print what was seen."""
    watching = Watching(**json.loads(sys.stdin.read()))
    began = time.monotonic()
    found = asyncio.run(follow(watching))
    print(f"watched for {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
