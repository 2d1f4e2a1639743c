"""The compose files and the Dockerfile, read as data: no Docker is needed to check them."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def compose() -> dict:
    """The compose file."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def cuda() -> dict:
    """What is laid over it for GPUs."""
    return yaml.safe_load((ROOT / "docker" / "cuda.yml").read_text())


@pytest.fixture(scope="session")
def dockerfile() -> list[list[str]]:
    """The Dockerfile's instructions as words, continued lines joined."""
    text = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [line.split() for line in lines if line and not line.startswith("#")]
