"""What the guards look at: every Python file of the repository, read once and never imported."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "npas": "core/npas",
    "npas_store": "core/npas_store",
    "npas_local": "core/npas_local",
    "npas_api": "api/npas_api",
    "npas_worker": "worker/npas_worker",
    "npas_client": "client/npas_client",
}
FOLDERS = ("core", "api", "worker", "client", "migrations", "docker", "tests", "benchmarks")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One Python file: its path below the root, its text and its syntax tree."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The import package the file belongs to, "" for tests and migrations."""
        inside = (name for name, folder in PACKAGES.items() if self.path.is_relative_to(folder))
        return next(inside, "")


def _source(text: str, path: str = "core/npas/example.py") -> Source:
    return Source(path=PurePosixPath(path), text=text, tree=ast.parse(text, path))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def source() -> Callable[..., Source]:
    """Make a source from a snippet, as if it stood at `path`: the guards are tried on these."""
    return _source


@pytest.fixture(scope="session")
def code() -> list[Source]:
    """Every Python file: packages, migrations, tests, benchmarks."""
    files = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
    assert len(files) > 10, f"no code found below {ROOT}"
    return [_source(f.read_text("utf-8"), f.relative_to(ROOT).as_posix()) for f in files]


@pytest.fixture(scope="session")
def packages(code: list[Source]) -> list[Source]:
    """The files that are shipped."""
    return [source for source in code if source.package]
