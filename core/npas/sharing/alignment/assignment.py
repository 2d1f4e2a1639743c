"""Which of as many columns each row gets, so that the sum of what they give is largest."""

import numpy as np
import numpy.typing as npt


def assignment(gain: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the columns of a square matrix that rows are given, each column once.

    Source: Jonker & Volgenant, "A Shortest Augmenting Path Algorithm for Dense and Sparse Linear
    Assignment Problems", Computing 38, 1987: exact, in O(N^3), without their preparation.

    Args:
        gain: (N, N), finite; what a row gives with a column.

    Returns:
        (N,), the column of each row.
    """
    size = len(gain)
    cost = gain.max(initial=0.0) - gain
    of_rows, of_columns = np.zeros(size), np.zeros(size)
    row_of = np.full(size, -1, np.int64)
    for row in range(size):
        _augment(cost, row, of_rows, of_columns, row_of)
    columns = np.empty(size, np.int64)
    columns[row_of] = np.arange(size)
    return columns


def _augment(
    cost: npt.NDArray[np.float64],
    row: int,
    of_rows: npt.NDArray[np.float64],
    of_columns: npt.NDArray[np.float64],
    row_of: npt.NDArray[np.int64],
) -> None:
    """Give a row a column, moving others by the cheapest path; the prices of both are kept."""
    size = len(cost)
    distance, before = np.full(size, np.inf), np.full(size, -1, np.int64)
    done = np.zeros(size, bool)
    here, column, length = row, -1, 0.0
    while True:
        reached = length + cost[here] - of_rows[here] - of_columns
        is_nearer = ~done & (reached < distance)
        distance[is_nearer], before[is_nearer] = reached[is_nearer], column
        column = int(np.where(done, np.inf, distance).argmin())
        length = float(distance[column])
        if row_of[column] < 0:
            break
        done[column] = True
        here = int(row_of[column])
    of_rows[row] += length
    of_rows[row_of[done]] += length - distance[done]
    of_columns[done] -= length - distance[done]
    while column >= 0:
        previous = int(before[column])
        row_of[column] = row if previous < 0 else row_of[previous]
        column = previous
