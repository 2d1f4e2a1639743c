"""One process at a time checks a dataset; one whose check was taken over changes nothing."""

import pytest
from npas_store import checks, datasets, uploads
from npas_store.blobs import Blob
from npas_store.database import reading, transaction
from npas_store.tables import Dataset

BLOB = Blob(sha256="a" * 64, bytes=9)
FOUND = checks.Found(facts={"num_classes": 2}, report={"a": 1}, content=BLOB, thumbnails=None)
WHY = {"code": "invalid_data", "message": "m", "hint": "", "field": ""}


@pytest.fixture
def received(store):
    """Make a dataset all of whose bytes are here."""
    assert store.is_dir()

    def make(name="mine"):
        with transaction() as session:
            row = uploads.declare(
                session,
                dataset_id=uploads.new_dataset_id(),
                name=name,
                format="npz",
                options={"channels": 3},
                labels={},
                num_bytes=3,
                sha256=None,
            )
        part = uploads.Part.open(row.id, 0)
        part.write(b"abc")
        part.keep()
        part.close()
        return row.id

    return make


def take():
    with transaction() as session:
        return checks.take(session)


def run_out(dataset_id):
    """Have the lease run out, or the pause."""
    with transaction() as session:
        row = datasets.look_up(session, dataset_id)
        row.lease_until = row.created_at


def row(dataset_id):
    with reading() as session:
        return datasets.look_up(session, dataset_id)


def write(change, check, *arguments):
    with transaction() as session:
        return change(session, check, *arguments)


def test_the_one_that_waited_longest_is_taken_once(received):
    one, two = received("one"), received("two")
    first, second = take(), take()
    assert (first.dataset_id, first.number, first.options) == (one, 1, {"channels": 3})
    assert second.dataset_id == two
    assert take() is None


def test_unfinished_uploads_are_not_checked(store):
    assert store.is_dir()
    with transaction() as session:
        session.add(Dataset(id="ds_1", name="n", format="npz", upload_bytes=5))
    assert take() is None


def test_who_lost_the_lease_can_write_nothing(received):
    dataset_id = received()
    first = take()
    assert write(checks.renew, first)
    run_out(dataset_id)
    second = take()
    assert second.number == 2
    assert not write(checks.renew, first)
    for change, *arguments in (
        *((checks.accept, FOUND), (checks.refuse, WHY), (checks.fail, "m")),
        (checks.give_back, None, 0),
    ):
        assert not write(change, first, *arguments)
    assert write(checks.accept, second, FOUND)
    found = row(dataset_id)
    assert (found.state, found.content_sha256, found.content_bytes) == ("ready", "a" * 64, 9)
    assert not write(checks.refuse, second, WHY)


def test_a_lost_check_is_done_again_after_a_pause(received):
    dataset_id = received()
    assert write(checks.fail, take(), "the power went")
    assert take() is None
    assert row(dataset_id).reason["message"] == "the power went"
    run_out(dataset_id)
    assert take().number == 2


def test_checks_that_are_lost_too_often_end(received, in_environment):
    dataset_id = received()
    with in_environment(NPAS_MAX_ATTEMPTS="3"):
        for _ in range(3):
            assert take()
            run_out(dataset_id)
        assert take() is None
    found = row(dataset_id)
    assert (found.state, found.reason["code"]) == ("invalid", "check_lost")
    assert "3 times" in found.reason["message"]


def test_a_check_that_is_given_back_does_not_count(received, in_environment):
    dataset_id = received()
    with in_environment(NPAS_MAX_ATTEMPTS="1"):
        for _ in range(3):
            assert write(checks.give_back, take(), None, 0)
            run_out(dataset_id)
        assert write(checks.give_back, take(), {"message": "disk full"}, 60)
        assert take() is None
    assert (row(dataset_id).state, row(dataset_id).reason) == (
        "processing",
        {"message": "disk full"},
    )
