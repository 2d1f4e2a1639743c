"""When a job saves and tells, on a clock that is set by hand."""

import pytest
from npas.jobs import clock as module
from npas.jobs.clock import Clock


@pytest.fixture
def now(monkeypatch):
    """Set the time, in seconds."""
    times = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: times[0])

    def set_to(seconds):
        times[0] = 100.0 + seconds

    return set_to


def test_files_are_due_after_the_seconds_wherever_the_training_is(now):
    clock = Clock(checkpoint_seconds=30)
    for at_an_end in (False, True):
        now(29)
        assert not clock.is_time_to_save(at_an_end=at_an_end)
        now(30)
        assert clock.is_time_to_save(at_an_end=at_an_end)
    clock.saved()
    now(59)
    assert not clock.is_time_to_save(at_an_end=True)


def test_no_seconds_mean_each_end_and_no_step(now):
    clock = Clock(checkpoint_seconds=0)
    now(5)
    assert clock.is_time_to_save(at_an_end=True)
    assert not clock.is_time_to_save(at_an_end=False)


def test_progress_is_told_every_half_second_at_most(now):
    clock = Clock(checkpoint_seconds=30)
    now(0.4)
    assert not clock.is_time_to_tell()
    now(0.5)
    assert clock.is_time_to_tell()
    now(0.9)
    assert not clock.is_time_to_tell()


def test_seconds_are_of_all_attempts(now):
    clock = Clock(checkpoint_seconds=30)
    clock.seconds_before = 7.0
    now(3)
    assert clock.seconds == 10.0
