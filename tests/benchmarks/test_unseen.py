"""Networks the project has not seen: one of a library, one as a user writes them."""

import pytest

from benchmarks.unseen import own, row, subjects, summary


@pytest.fixture(scope="module")
def nested():
    return next(subject for subject in own() if subject.name == "nested")


def test_row_tells_of_every_budget(nested):
    assert row(nested)[3:] == ["equal", "equal"]


def test_summary_counts_what_failed(nested):
    rows = [row(nested), ["own module", "other", "0.01", "refused: at least 60%", "FAILED: x"]]
    assert "of 4 tries 2 came back" in summary(rows)
    assert "1 were refused with a reason, 1 failed" in summary(rows)


def test_fifty_networks_are_named_and_none_twice():
    names = [(each.source, each.name) for found in subjects().values() for each in found]
    assert len(names) == len(set(names)) >= 50
    assert sum(source == "timm" for source, _ in names) >= 20
    assert sum(source == "hf" for source, _ in names) >= 10
    assert sum(source == "own module" for source, _ in names) >= 10
