"""What a machine, or a container on it, lets a process use."""

import os

import pytest
from npas_store import machine

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Have the kernel's files hold something else."""

    def tell(limit, kills):
        for name, text in (("limit", limit), ("kills", kills)):
            if text is not None:
                (tmp_path / name).write_text(text)
        monkeypatch.setattr(machine, "_LIMITS", (tmp_path / "none", tmp_path / "limit"))
        monkeypatch.setattr(machine, "_KILLS", tmp_path / "kills")

    return tell


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        ("1048576\n", 1048576),
        ("max\n", PHYSICAL),
        ("9223372036854771712\n", PHYSICAL),  # how the first control groups say that there is none
        (None, PHYSICAL),
    ],
)
def test_memory_is_that_of_the_container_where_it_has_less(told, limit, wanted):
    told(limit, None)
    assert machine.memory_bytes() == wanted


@pytest.mark.parametrize(
    ("kills", "wanted"), [("pgfault 9\noom_kill 3\n", 3), ("pgfault 9\n", 0), (None, 0)]
)
def test_kills_for_memory_are_those_that_the_kernel_counts(told, kills, wanted):
    told(None, kills)
    assert machine.num_kills_for_memory() == wanted


def test_kills_for_memory_of_this_machine_can_be_read():
    assert machine.num_kills_for_memory() >= 0
