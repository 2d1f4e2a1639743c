"""Epochs: a row and an event each, and no second event for an epoch that is the same again."""

import pytest
from npas_store import events, metrics
from npas_store.database import reading, transaction


@pytest.fixture
def job_id(submit):
    return submit().id


def row(epoch, **changes):
    known = {"stage": "train", "epoch": epoch, "epochs": 3, "train_loss": 1 / epoch}
    return {**known, "validation_accuracy": 0.5, "seconds": 1.5, **changes}


def record(job_id, *rows):
    with transaction() as session:
        metrics.record_all(session, job_id, rows)


def told(job_id):
    with reading() as session:
        return [e for e in events.after(session, job_id) if e.type == metrics.EVENT]


def test_epochs_are_events_in_order_with_their_rows(job_id):
    record(job_id, row(1), row(2))
    record(job_id, row(3, train_loss=float("nan"), validation_accuracy=None))
    found = told(job_id)
    assert [event.seq for event in found] == [2, 3, 4]
    with reading() as session:
        assert [event.data for event in found] == metrics.rows(session, job_id)
    assert found[0].message == "train: epoch 1 of 3: validation accuracy 50.0%"
    assert (found[2].message, found[2].data["train_loss"]) == ("train: epoch 3 of 3", None)


def test_epoch_that_is_done_again_is_told_again_only_if_it_changed(job_id):
    record(job_id, row(1), row(2))
    record(job_id, row(1, seconds=9.0), row(2, seconds=9.0, train_loss=0.25), row(3))
    found = told(job_id)
    assert [(event.data["epoch"], event.data["train_loss"]) for event in found] == [
        (1, 1.0),
        (2, 0.5),
        (2, 0.25),
        (3, 1 / 3),
    ]
    with reading() as session:
        rows = metrics.rows(session, job_id)
    assert rows == [found[0].data, found[2].data, found[3].data]
    assert (rows[0]["seconds"], rows[1]["seconds"]) == (1.5, 9.0)


def test_epoch_that_is_reported_twice_at_once_is_the_last_one(job_id):
    record(job_id, row(1), row(1, train_loss=0.125))
    (found,) = told(job_id)
    assert found.data["train_loss"] == 0.125
