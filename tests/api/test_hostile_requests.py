"""Two rounds of the malformed requests that `benchmarks.hostile_requests` sends by thousands."""

import pytest

from benchmarks import hostile_graphs
from benchmarks.hostile_requests import SOURCES, storm, table
from benchmarks.hostile_service import CAPS, watched
from benchmarks.hostile_uploads import MEGABYTE

NUMBER = 2 * len(SOURCES) * len(hostile_graphs.KINDS)


@pytest.mark.usefixtures("store")
def test_each_request_gets_a_problem_document_or_is_in_order(url):
    with watched() as peaks:
        results = storm([url], number=NUMBER, seed=5)
    assert [result for result in results if result.fault] == []
    told = table(results, peaks.most)
    assert {kind for kind in hostile_graphs.KINDS if kind in told} == set(hostile_graphs.KINDS)
    assert 0 < peaks.most["planner"] < CAPS["planner"] * MEGABYTE


def test_requests_are_the_same_for_a_seed():
    for number in range(len(hostile_graphs.KINDS)):
        assert hostile_graphs.bodies(number, 3) == hostile_graphs.bodies(number, 3)
