"""The losses that come along with the library are those of the stored runs."""

import pytest
from npas.planning.prior import KNOWN

from benchmarks import known_losses
from benchmarks.known_losses import FOLDERS, text
from benchmarks.runs import write
from benchmarks.suite import SUITES


def test_file_is_what_the_command_writes():
    """Where runs were added: `python -m benchmarks.known_losses`."""
    assert KNOWN.read_text() == text(known_losses.known_losses())


def test_cells_that_results_are_reported_on_are_not_looked_at():
    assert not any("test" in folder.parts[-2:] for folder in FOLDERS)
    known = known_losses.known_losses()
    reported = {cell.network for cell in SUITES["test"]}
    assert reported.isdisjoint(cell.network for cell in known.cells)


def test_losses_are_means_over_seeds_of_what_a_request_can_ask_for(tmp_path):
    setting = {
        "architecture": "wrn-16-1",
        "dataset": {"name": "digits"},
        "training": {"epochs": 3},
    }
    folder = tmp_path / "digits-wrn-16-1"
    write(folder / "setting.json", setting)
    losses = {
        "random": (1.0, 1.1),
        "uniform": (1.2, 1.4),
        "random-wide": (0.8, 0.9),
        "block_mix-positions": (0.1, 0.1),
        "dense": (0.5, 0.5),
    }
    for arm, runs in losses.items():
        for seed, nll in enumerate(runs):
            record = {"arm": arm, "seed": seed, "fraction": 0.25, "status": "done", "nll": nll}
            write(folder / f"{arm}-25-{seed}.json", record)
    other = tmp_path / "digits-wrn-10-1"
    write(other / "setting.json", setting | {"architecture": "wrn-10-1"})
    for arm, nll in (("random", 2.0), ("uniform", 2.4)):
        record = {"arm": arm, "seed": 0, "fraction": 0.25, "status": "done", "nll": nll}
        write(other / f"{arm}-25-0.json", record)

    known = known_losses.known_losses([tmp_path])

    small, cell = known.cells
    assert (cell.network, cell.family, cell.fraction) == ("wrn-16-1", "wrn", 0.25)
    assert (cell.dataset, cell.epochs) == ("digits", 3)
    assert cell.losses == {"random": 1.05, "uniform": 1.3}
    (wide,) = cell.sized
    assert (wide.method, wide.loss) == ("random", 0.85)
    assert 0.5 < wide.doublings <= 1
    assert small.losses == {"random": 2.0, "uniform": 2.4}
    assert known.noise == pytest.approx(0.0707, abs=1e-4)  # leads of 0.2 and 0.3
    assert known.spread == pytest.approx(0.1061, abs=1e-4)  # leads of 0.25 and 0.4
