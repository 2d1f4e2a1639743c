"""The dial of the laws: how many examples are tried."""

import pytest
from hypothesis import strategies as st
from npas.testing.effort import SHARE, Effort, tried

_NUMBERS = st.integers(0, 2**24)


@pytest.mark.parametrize(("share", "count"), [(None, 40), ("0.1", 4), ("0.001", 1)])
def test_share_of_the_examples_is_tried(share, count, monkeypatch):
    monkeypatch.delenv(SHARE, raising=False)
    if share is not None:
        monkeypatch.setenv(SHARE, share)
    drawn = []
    tried(lambda data: drawn.append(data.draw(_NUMBERS)), 40, Effort())
    assert len(drawn) == count


def test_law_that_is_broken_by_few_examples_is_found_in_all(monkeypatch):
    monkeypatch.delenv(SHARE, raising=False)

    def holds(data):
        assert data.draw(_NUMBERS) < 2**20

    with pytest.raises(AssertionError):
        tried(holds, 200, Effort(is_shrunk=False))
