"""Sends HTTP requests as fast as they are answered: `python -m benchmarks.api.load`, a process.

It reads a `Load` as JSON from its standard input and prints a `Measured` as JSON. Each client has
a connection that it keeps, and one request under way. Requests are bytes that were made before,
and of an answer no more is read than where it ends: so little is done here that the server is
what is measured, and `busy` says whether that is so.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

NUMBER = b"00000000-number"
"""Stands in a request for a number that no other request has, of this length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is sent.

    Attributes:
        requests: method, path with query, and body, which is sent as JSON; taken in turn.
        clients: connections.
        seconds: for which requests are begun.
        pause: seconds of a client from an answer to its next request.
    """

    host: str = "127.0.0.1"
    port: int
    requests: Sequence[tuple[str, str, str]]
    headers: dict[str, str]
    clients: int
    seconds: float
    pause: float = 0.0

    def encoded(self) -> list[bytes]:
        """Return the requests as they are sent."""
        common = {"Host": f"{self.host}:{self.port}", "Accept": "application/json", **self.headers}
        made = []
        for method, path, body in self.requests:
            headers = dict(common)
            if body:
                headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
            lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
            made.append("\r\n".join([*lines, "", body]).encode())
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What came of it.

    Attributes:
        failed: answers that were none of 2xx.
        busy: part of the time for which this process had a processor.
        first_failure: of the failed, the beginning.
    """

    answers: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    busy: float
    first_failure: str

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Return what a process printed."""
        return cls(**json.loads(text))


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: Iterator[bytes], until: float, pause: float) -> None:
        self._requests, self._until, self._pause = requests, until, pause
        self._buffer = bytearray()
        self._length = -1
        self._began = 0.0
        self.times: list[float] = []
        self.failures: list[str] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        if self._began >= self._until:
            self._transport.close()
        else:
            self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._length < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.index(b"content-length:") + len(b"content-length:")
            self._length = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._length:
            self.times.append(time.perf_counter() - self._began)
            if not self._buffer.startswith(b"HTTP/1.1 2"):
                self.failures.append(self._buffer[:300].decode(errors="replace"))
            self._buffer.clear()
            self._length = -1
            if self._pause:
                asyncio.get_running_loop().call_later(self._pause, self._send)
            else:
                self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._length >= 0 or self._buffer or error is not None:
            self.failures.append(f"the connection was lost: {error}")
        if not self.done.done():
            self.done.set_result(None)


def _numbered(requests: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the requests in turn, for ever, each with a number of its own."""
    for number in itertools.count(os.getpid() % 1000 * 1_000_000):
        request = requests[number % len(requests)]
        yield request.replace(NUMBER, b"%015d" % number) if NUMBER in request else request


async def measure(load: Load) -> Measured:
    """Send it and return what came of it."""
    loop = asyncio.get_running_loop()
    requests = _numbered(load.encoded())
    began, used = time.perf_counter(), time.process_time()
    clients = []
    for _ in range(load.clients):
        _, client = await loop.create_connection(
            lambda: _Client(requests, began + load.seconds, load.pause), load.host, load.port
        )
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    seconds = time.perf_counter() - began
    times = sorted(t for client in clients for t in client.times)
    failures = [failure for client in clients for failure in client.failures]
    return Measured(
        answers=len(times),
        failed=len(failures),
        seconds=seconds,
        p50_ms=1000 * _quantile(times, 0.5),
        p99_ms=1000 * _quantile(times, 0.99),
        busy=(time.process_time() - used) / seconds,
        first_failure=failures[0] if failures else "",
    )


def _quantile(times: Sequence[float], part: float) -> float:
    return times[min(len(times) - 1, int(part * len(times)))] if times else 0.0


def sent(load: Load) -> Measured:
    """Have another process send it, and return what came of it."""
    command = [sys.executable, "-m", "benchmarks.api.load"]
    asked = json.dumps(asdict(load))
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    return Measured.of_json(done.stdout)


def main() -> int:
    """Read what to send, send it, print what came of it."""
    load = Load(**json.loads(sys.stdin.read()))
    print(json.dumps(asdict(asyncio.run(measure(load)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
