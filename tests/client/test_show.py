"""Without a terminal, progress is plain lines: each phase at once, epochs now and then."""

import io

import pytest
from npas_client import show
from npas_client.answers import Job
from npas_client.show import Row, View
from rich.console import Console


def row(state, phase=None, *, epoch=None, eta=None, stage="train"):
    ended = state == "succeeded"
    job = Job(id="job_1", state=state, is_terminal=ended, phase=phase, eta_seconds=eta)
    latest = {"stage": stage, "epoch": epoch, "epochs": 9, "validation_accuracy": 0.5}
    return Row(title="small", job=job, latest=latest if epoch else {})


def lines(rows, *, terminal=False):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with View(console) as view:
        for one in rows:
            view.update([one])
    return console.file.getvalue()


def test_each_phase_is_a_line(monkeypatch):
    monkeypatch.setattr(show, "LINE_SECONDS", 1e9)
    rows = [
        row("queued"),
        row("queued"),
        row("running", "training"),
        row("running", "training", epoch=3),
        row("succeeded", epoch=9, eta=0.0),
    ]
    assert lines(rows).splitlines() == [
        "small: queued",
        "small: training",
        "small: succeeded, epoch 9/9, validation accuracy 50.0%",
    ]


def test_epochs_of_the_search_end_with_it():
    rows = [row("running", phase, epoch=2, stage="search") for phase in ("searching", "training")]
    assert lines(rows).splitlines() == [
        "small: searching, epoch 2/9, validation accuracy 50.0%",
        "small: training",
    ]


def test_epochs_of_the_teacher_end_with_it():
    rows = [row("running", phase, epoch=2, stage="teacher") for phase in ("teaching", "searching")]
    assert lines(rows).splitlines() == [
        "small: teaching, epoch 2/9, validation accuracy 50.0%",
        "small: searching",
    ]


def test_epochs_are_lines_when_they_are_due(monkeypatch):
    monkeypatch.setattr(show, "LINE_SECONDS", 0.0)
    rows = [row("running", "training", epoch=n, eta=9.6) for n in (1, 1, 2)]
    assert lines(rows).splitlines() == [
        f"small: training, epoch {n}/9, validation accuracy 50.0%, 10 s left" for n in (1, 2)
    ]


@pytest.mark.parametrize("word", ["small", "training", "3/9", "50.0%", "10 s"])
def test_a_terminal_gets_a_table(word):
    assert word in lines([row("running", "training", epoch=3, eta=9.6)], terminal=True)
