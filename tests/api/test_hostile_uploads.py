"""Forty of the hostile uploads that `benchmarks.hostile_uploads` sends by thousands."""

import pytest
from npas_store import uploads

from benchmarks.hostile_files import KINDS, made
from benchmarks.hostile_service import CAPS, files, watched
from benchmarks.hostile_uploads import MEGABYTE, WAYS, storm, table

NUMBER = 3 * max(len(WAYS), len(KINDS) // 2)


@pytest.mark.usefixtures("checked")
def test_each_upload_is_refused_with_a_reason_or_in_order(url, store):
    uploads.expire_once()  # what other tests left
    before = files(store)
    with watched() as peaks:
        results = storm([url], number=NUMBER, seed=7)
    assert [result for result in results if result.fault] == []
    told = table(results, peaks.most)
    assert {kind for kind in KINDS if kind in told} == set(KINDS)
    assert len(results) == NUMBER
    assert 0 < peaks.most["check"] < CAPS["check"] * MEGABYTE
    assert files(store) - before == set()


def test_files_are_the_same_for_a_seed():
    for kind in KINDS:
        assert made(kind, 3) == made(kind, 3)
