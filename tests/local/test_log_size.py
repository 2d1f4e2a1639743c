"""A program's log stays small while it writes; what it said last is kept."""

import shutil
import sys
import time

from npas_local.log_size import keep_small, older
from npas_local.processes import Child, Program

TALK = """
import itertools, time

for number in itertools.count():
    print(f"{number:07}", flush=True)  # eight bytes: a cut at a multiple is between lines
    time.sleep(0.0005)
"""


def test_a_program_writes_on_after_its_log_was_cut(tmp_path):
    log = tmp_path / "logs" / "talker.log"
    child = Child(Program("talker", [sys.executable, "-c", TALK], log=log))
    child.start()
    try:
        cuts, deadline = 0, time.monotonic() + 60
        while cuts < 3 and time.monotonic() < deadline:
            cuts += keep_small(log, 2000)
            assert not child.tend()  # it runs on
    finally:
        child.stop()
    assert cuts == 3
    assert {path.name for path in log.parent.iterdir()} == {"talker.log", "talker.log.1"}
    before = [int(line) for line in older(log).read_text().split()]
    after = [int(line) for line in log.read_text().split()]
    for said in (before, after):
        first = said[0] if said else 0
        assert said == list(range(first, first + len(said)))
    assert before
    assert not after or after[0] > before[-1]


def test_a_small_log_or_one_that_cannot_be_copied_stays_as_it_is(tmp_path):
    log = tmp_path / "some.log"
    assert not keep_small(log)  # there is none yet
    log.write_text("x" * 100)
    assert not keep_small(log, 100)
    older(log).mkdir()  # in its way
    assert not keep_small(log, 99)
    assert log.read_text() == "x" * 100
    assert {path.name for path in tmp_path.iterdir()} == {"some.log", "some.log.1"}


def test_of_a_large_log_the_end_is_kept(tmp_path):
    log = tmp_path / "some.log"
    log.write_text("a" * 1000 + "z" * 100)
    assert keep_small(log, 100)
    assert (older(log).read_text(), log.read_text()) == ("z" * 100, "")


def test_nothing_is_written_where_there_is_no_room(tmp_path):
    log = tmp_path / "some.log"
    log.write_text("x" * 100)
    older(log).write_text("y" * 100)
    most = shutil.disk_usage(tmp_path).total  # so much is never free twice
    with log.open("ab") as file:
        file.truncate(most + 1)  # a hole: it takes no room
    assert not keep_small(log, most)
    assert [path.name for path in tmp_path.iterdir()] == ["some.log"]
