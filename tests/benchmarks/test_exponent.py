"""What a shared block is worth: the exponent of known losses, and the runs that it needs."""

import json
import math

import pytest
from npas.arch.matching import resolve_for
from npas.data import facts

from benchmarks.arms import DENSE, first_plan, job
from benchmarks.exponent import DEPTHS, METHODS, blocks, cells, exponent, measured, setting
from benchmarks.scores import _PM

LINE = {depth: 2 - 0.3 * math.log(blocks(depth)) for depth in DEPTHS}
"""Of dense networks whose loss falls with the logarithm of their blocks."""


@pytest.mark.parametrize("phi", [0.0, 0.46, 1.0])
def test_exponent_of_known_losses(phi):
    unique, all_blocks = blocks(8), blocks(26)
    worth = unique * (all_blocks / unique) ** phi
    loss = 2 - 0.3 * math.log(worth)
    assert exponent(LINE, 26, 8, loss) == pytest.approx(phi)


def test_shared_networks_have_the_parameters_of_dense_ones():
    deepest = setting(DEPTHS[-1], "tiny", "digits")
    found = cells(DEPTHS[-1], range(2), None, deepest)
    shared = [cell for cell in found if cell.arm != DENSE]
    assert len(shared) == 2 * len(METHODS) * (len(DEPTHS) - 1)
    sizes = {
        first_plan(setting(depth, "tiny", "digits"), found[0], None).ledger.dense
        for depth in DEPTHS[:-1]
    }
    for cell in shared:
        request = job(deepest, cell)
        resolve_for(request.members(), facts(request.dataset, None))
    whole = first_plan(deepest, found[0], None).ledger.dense
    assert {round(cell.budget * whole) for cell in shared} == sizes
    assert cells(DEPTHS[0], range(2), None, setting(DEPTHS[0], "tiny", "digits")) == found[:2]


def test_table_reads_stored_runs(tmp_path):
    for depth in DEPTHS:
        of = setting(depth, "tiny", "digits")
        folder = tmp_path / of.name
        folder.mkdir()
        (folder / "setting.json").write_text(json.dumps(of.to_json()))
        for cell in cells(depth, range(2), None, of):
            nll = LINE[depth] if cell.arm == DENSE else LINE[DEPTHS[-1]]
            record = {"arm": cell.arm, "fraction": cell.budget, "seed": cell.seed, "nll": nll}
            (folder / f"{cell.name}.json").write_text(json.dumps({**record, "status": "done"}))
    text = measured(tmp_path)
    assert f"| soft sharing, phi |{f' 1.00 {_PM} 0.00 |' * 3} - |" in text
