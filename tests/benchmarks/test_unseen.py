"""Networks the project had not seen: what is said of each, and that they are so."""

import random
import re
from pathlib import Path

import pytest
from npas.arch.families import hf, timm

from benchmarks import networks, own_modules
from benchmarks.unseen import modules, row, subjects, summary
from benchmarks.unseen_modules import FURTHER
from benchmarks.unseen_networks import HF, OUTSIDE, TIMM

ROOT = Path(__file__).parents[2]
SAMPLE = 336
"""Names of timm that `benchmarks.network_libraries` had planned, by the table in the docs."""


@pytest.fixture(scope="module")
def experts():
    found = modules(FURTHER, "own module")
    return next(subject for subject in found if subject.name == "experts in nested lists")


def test_row_tells_of_every_budget(experts):
    assert row(experts)[3:] == ["equal", "equal"]


def test_row_of_what_is_refused_says_why():
    found = next(each for each in subjects()["hf"] if each.name == OUTSIDE[0])
    assert row(found)[2] == "unknown"
    assert all("refused: unknown architecture" in cell for cell in row(found)[3:])


def test_summary_counts_what_failed(experts):
    rows = [row(experts), ["own module", "other", "0.01", "refused: at least 60%", "FAILED: x"]]
    assert "of 4 tries 2 came back" in summary(rows)
    assert "1 were refused with a reason, 1 failed. 1 networks" in summary(rows)


def test_fifty_networks_are_named_and_none_twice():
    names = [(each.source, each.name) for found in subjects().values() for each in found]
    assert len(names) == len(set(names)) >= 50
    assert sum(source == "timm" for source, _ in names) >= 20
    assert sum(source == "hf" for source, _ in names) >= 10
    assert sum(source == "own module" for source, _ in names) >= 10


def test_networks_of_libraries_are_named_nowhere_else():
    folders = [ROOT / name for name in ("core", "api", "worker", "client", "tests", "benchmarks")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    texts = [path.read_text() for path in files if "unseen" not in path.stem]
    seen = set(re.findall(r"[\w.-]+", "\n".join(texts)))
    assert "test_resnet" in seen
    assert seen.isdisjoint(TIMM)
    assert set(TIMM).isdisjoint({*timm.WELL_KNOWN, *networks.TIMM})
    drawn = [timm.PREFIX + name for name in timm.models()]
    random.Random(0).shuffle(drawn)
    assert {timm.PREFIX + name for name in TIMM}.isdisjoint(drawn[:SAMPLE])


def test_configurations_are_of_listed_types_or_said_to_be_others():
    assert len(HF) >= 10
    assert set(HF) - set(hf.TYPES) == {"metaclip_2"}
    assert set(OUTSIDE).isdisjoint({*hf.TYPES, *hf.REFUSED, *hf.types()})


def test_modules_are_not_those_of_the_tests():
    makers = {make for make, _ in own_modules.MODULES.values()}
    assert makers.isdisjoint(make for make, _ in FURTHER.values())
    assert len({make for make, _ in FURTHER.values()}) == len(FURTHER)
