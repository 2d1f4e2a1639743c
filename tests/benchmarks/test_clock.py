import time
from pathlib import Path

from benchmarks.ensembles.clock import ProcessorClock


def _work() -> None:
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass


def test_clock_adds_up_what_lies_between_its_starts_and_stops(tmp_path: Path) -> None:
    first = ProcessorClock(tmp_path / "clock.json")
    assert first.seconds == 0
    first.start()
    _work()
    first.start()
    first.stop()
    before = first.seconds
    _work()
    first.stop()

    assert before >= 0.02
    assert first.seconds == before
    second = ProcessorClock(tmp_path / "clock.json")
    assert second.seconds == before
    second.start()
    _work()
    second.stop()
    assert ProcessorClock(tmp_path / "clock.json").seconds == second.seconds >= before + 0.02
