"""Grids and their shortest paths, against a search written the plain way."""

from collections import deque

import npas.data
import numpy as np
import pytest
from npas.data.shortest_path import examples, shortest_paths
from npas.errors import DataError


def moves_from(free, start):
    """Return the moves to every cell that can be reached, by a queue."""
    moves, queue = {start: 0}, deque([start])
    while queue:
        row, column = queue.popleft()
        for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= cell[0] < len(free) and 0 <= cell[1] < len(free)
            if inside and free[cell] and cell not in moves:
                moves[cell] = moves[row, column] + 1
                queue.append(cell)
    return moves


def paths_by_walking(free, first, second):
    """Return the cells on any shortest path: walk back from the end, always one move nearer."""
    moves = moves_from(free, first)
    if second not in moves:
        return None
    cells, ring = {second}, {second}
    for nearer in range(moves[second] - 1, -1, -1):
        ring = {
            cell
            for cell, far in moves.items()
            if far == nearer and any(abs(cell[0] - r) + abs(cell[1] - c) == 1 for r, c in ring)
        }
        cells |= ring
    return cells


@pytest.mark.parametrize("density", [0.1, 0.4])
def test_shortest_paths_are_those_of_a_plain_search(density):
    draw = np.random.default_rng(3)
    free = draw.random((60, 9, 9)) >= density
    first, second = draw.integers(0, 9, (2, 60, 2))

    path, is_usable = shortest_paths(free, first, second)

    for grid, a, b, found, usable in zip(free, first, second, path, is_usable, strict=True):
        start, end = tuple(a.tolist()), tuple(b.tolist())
        cells = paths_by_walking(grid, start, end) if grid[start] and grid[end] else None
        assert usable == (cells is not None and start != end)
        if usable:
            assert set(zip(*np.nonzero(found), strict=True)) == cells
    assert 10 < is_usable.sum() < 60


@pytest.mark.parametrize("extent", [3, 9])
def test_examples_are_what_they_say(extent):
    images, masks = examples(700, size=12, extent=extent, seed=1)

    assert images.shape == (700, 2, 12, 12)
    assert set(np.unique(images)) == {0, 255}
    assert masks.shape == (700, 12, 12)
    obstacles, queries = images[:, 0] > 0, images[:, 1] > 0
    assert (queries.sum(axis=(1, 2)) == 2).all()
    assert not (obstacles & (masks == 1)).any()
    assert (masks[queries] == 1).all()
    assert 0.08 < obstacles.mean() < 0.11  # 0.1, but grids without a path are drawn anew
    _, rows, columns = np.nonzero(queries)
    apart = np.maximum(abs(rows[::2] - rows[1::2]), abs(columns[::2] - columns[1::2]))
    assert apart.max() == extent // 2
    again = examples(300, size=12, extent=extent, seed=1)
    assert (again[0] == images[:300]).all()
    assert (examples(300, size=12, extent=extent, seed=2)[0] != again[0]).any()


@pytest.mark.slow
def test_phases_grow_and_are_the_same_every_time():
    easy, hard = npas.data.load("shortest-path:1"), npas.data.load("shortest-path")

    assert (easy.task, easy.sizes) == ("cells", (2, 2, 32))
    assert (len(easy.x_train), len(easy.x_test)) == (5000, 1000)
    assert easy.fingerprint.startswith("e88adefc3efac827")
    assert hard.fingerprint.startswith("c6458c41fd0c39")
    assert easy.y_train.sum(dim=(1, 2)).max() < hard.y_train.sum(dim=(1, 2)).max()


@pytest.mark.parametrize("phase", ["0", "6", "x"])
def test_phase_that_is_not_there_is_refused(phase):
    with pytest.raises(DataError, match="phase must be from 1 to 5") as caught:
        npas.data.facts(f"shortest-path:{phase}")
    assert caught.value.field == "/dataset"
