"""Another process, with another hash seed: same plans, same bytes, same outputs."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import npas
import pytest
import torch

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("other_process.py")


@pytest.fixture(scope="module")
def here():
    """The script's functions, in this process."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, here):
    """What this process wrote and what the other one made of it."""
    folder = tmp_path_factory.mktemp("processes")
    npas.save(here["model"](), folder / "here", extra=here["EXTRA"])
    torch.save(torch.linspace(-1, 1, 3 * 3 * 32 * 32).view(3, 3, 32, 32), folder / "x")
    own = os.environ.get("PYTHONHASHSEED")
    subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, folder],
        env={**os.environ, "PYTHONHASHSEED": "2" if own == "1" else "1"},
        check=True,
        timeout=300,
    )
    return folder


def test_plan_is_the_same_in_another_process(folder, here):
    found = json.loads((folder / "plans").read_text())
    assert found == here["plans"]()


def test_plan_is_the_same_again_and_after_a_round_trip(here):
    once = here["plans"]()
    assert once == here["plans"]()
    assert [npas.Plan.from_json(text).to_json() for text in once] == once


def test_save_writes_the_same_bytes_in_another_process(folder):
    assert (folder / "here").read_bytes() == (folder / "there").read_bytes()


def test_load_gives_bit_equal_outputs_in_another_process(folder, here):
    x = torch.load(folder / "x", weights_only=True)
    with torch.no_grad():
        wanted = here["model"]().eval()(x)
    shared, plain = torch.load(folder / "y", weights_only=True)
    assert torch.equal(shared, wanted)
    assert torch.equal(plain, wanted)
