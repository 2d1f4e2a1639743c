"""A round of the malformed requests that `benchmarks.hostile_requests` sends by thousands."""

import pytest
from npas_store import uploads

from benchmarks import hostile_budgets, hostile_graphs, hostile_starts, hostile_weights
from benchmarks.hostile_requests import SOURCES, storm, table
from benchmarks.hostile_service import CAPS, files, watched
from benchmarks.hostile_uploads import MEGABYTE

KINDS = {
    "graph": list(hostile_graphs.KINDS),
    "weights": hostile_starts.weights_kinds(),
    "budget": list(hostile_budgets.KINDS),
}
NUMBER = len(SOURCES) * max(map(len, KINDS.values()))


@pytest.mark.usefixtures("checked")
def test_each_request_gets_a_problem_document_or_is_in_order(url, store):
    uploads.expire_once()  # what other tests left
    before = files(store)
    with watched() as peaks:
        results = storm([url], number=NUMBER, seed=5)
    assert [result for result in results if result.fault] == []
    wanted = {f"{source}: {kind}" for source, kinds in KINDS.items() for kind in kinds}
    assert {result.kind for result in results} == wanted
    assert len(results) == NUMBER
    told = table(results, peaks.most)
    assert [kind for kind in wanted if f"| {kind} |" not in told] == []
    assert 0 < peaks.most["planner"] < CAPS["planner"] * MEGABYTE
    assert 0 < peaks.most["check"] < CAPS["check"] * MEGABYTE
    assert files(store) - before == set()


def test_graphs_and_budgets_are_the_same_for_a_seed():
    for bodies, kinds in (
        (hostile_graphs.bodies, hostile_graphs.KINDS),
        (hostile_budgets.budget_bodies, hostile_budgets.KINDS),
    ):
        for number in range(len(kinds)):
            assert bodies(number, 3) == bodies(number, 3)


def test_files_of_weights_are_the_same_for_a_seed():
    for kind in hostile_weights.KINDS:
        assert hostile_weights.made(kind, 3) == hostile_weights.made(kind, 3)
