"""An API that is measured: where it is, what it is asked, how full its table is."""

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from npas_local import embedded
from npas_store.settings import settings

from benchmarks.api.load import Load, Measured, sent


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """What clients send, in turn: method, path with query, body."""

    each: Sequence[tuple[str, str, str]]

    @classmethod
    def same(cls, request: tuple[str, str, str]) -> Self:
        """Return one request, sent again and again."""
        return cls(each=(request,))


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """An API.

    Attributes:
        name: for people.
        port: on 127.0.0.1.
        create: makes a row of its table.
        table: database and table, of the server of the settings.
    """

    name: str
    port: int
    create: Requests
    table: str

    def answers(self, path: str) -> bool:
        """Tell whether a GET of a path succeeds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as got:
                return bool(got.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def measure(
        self, requests: Requests, *, clients: int, seconds: float, pause: float = 0.0
    ) -> Measured:
        """Have clients send requests, and return what came of it."""
        load = Load(
            port=self.port,
            requests=list(requests.each),
            headers={},
            clients=clients,
            seconds=seconds,
            pause=pause,
        )
        return sent(load)

    def num_rows(self) -> int:
        """Count the rows of its table."""
        database, _, table = self.table.partition(".")
        url = urlsplit(settings().database_url or "")._replace(path=f"/{database}").geturl()
        return int(psql(url, f"SELECT count(*) FROM {table}"))

    def fill(self, rows: int) -> None:
        """Make rows until there are so many."""
        while (found := self.num_rows()) < rows:
            print(f"{self.name}: {found} of {rows} rows", flush=True)
            measured = self.measure(self.create, clients=10, seconds=10)
            if not measured.answers or measured.failed:
                raise RuntimeError(f"{self.name} makes no rows: {measured.first_failure}")


def psql(url: str, statement: str) -> str:
    """Have a server's own client run a statement, and return what it prints."""
    command: list[str | Path] = [embedded.binaries() / "psql", url, "-Atc", statement]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return str(done.stdout).strip()


def processes_below(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        for task in os.listdir(f"/proc/{each}/task"):
            with open(f"/proc/{each}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
    return found
