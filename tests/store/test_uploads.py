"""What is never finished is given up, and nothing stays on the disk."""

import contextlib
from datetime import timedelta

import pytest
from npas_store import datasets, homes, uploads
from npas_store.database import reading, transaction
from npas_store.settings import settings
from npas_store.tables import Dataset
from sqlalchemy import func


@pytest.fixture
def part(store):
    """Some bytes of an upload."""
    assert store.is_dir()
    with transaction() as session:
        row = uploads.declare(
            session,
            dataset_id=uploads.new_dataset_id(),
            name="mine",
            format="npz",
            options={},
            labels={},
            num_bytes=10,
            sha256=None,
        )
    part = uploads.Part.open(row.id, 0)
    part.write(b"abc")
    part.keep()
    yield row.id, part
    with contextlib.suppress(OSError):  # closed already
        part.close()


def age(dataset_id, hours):
    with transaction() as session:
        datasets.look_up(session, dataset_id).created_at = func.now() - timedelta(hours=hours)


def test_an_upload_that_is_not_whole_in_time_is_given_up(part):
    dataset_id, writing = part
    age(dataset_id, 23)
    assert uploads.expire_once() == 0
    assert uploads.content(dataset_id).is_file()
    age(dataset_id, 25)
    assert uploads.expire_once() == 1
    with reading() as session:
        row = datasets.look_up(session, dataset_id)
    assert (row.state, row.reason["code"]) == ("invalid", "upload_expired")
    assert "24 hours" in row.reason["message"]
    assert not uploads.folder_of(dataset_id).exists()
    writing.write(b"late")
    with pytest.raises(uploads.UploadEndedError):
        writing.keep()
    with pytest.raises(uploads.UploadEndedError):
        uploads.Part.open(dataset_id, 3)


def test_a_check_that_waits_for_the_disk_for_too_long_is_given_up(part):
    dataset_id, writing = part
    writing.write(b"1234567")
    writing.keep()
    with transaction() as session:
        row = datasets.look_up(session, dataset_id)
        row.reason = {"code": "disk_full", "message": "no room"}
        row.received_at = func.now() - timedelta(hours=23)
    assert uploads.expire_once() == 0
    with transaction() as session:
        datasets.look_up(session, dataset_id).received_at = func.now() - timedelta(hours=25)
    assert uploads.expire_once() == 1
    with reading() as session:
        row = datasets.look_up(session, dataset_id)
    assert (row.state, row.reason["code"]) == ("invalid", "disk_full")
    assert not uploads.folder_of(dataset_id).exists()


def test_an_upload_goes_on_where_its_file_ends_after_a_power_cut(part):
    dataset_id, writing = part
    writing.close()
    uploads.content(dataset_id).write_bytes(b"a")
    with pytest.raises(uploads.OffsetError) as caught:
        uploads.Part.open(dataset_id, 3)
    assert caught.value.received == 1
    again = uploads.Part.open(dataset_id, 1)
    again.write(b"bcdefghij")
    again.keep()
    again.close()
    assert uploads.content(dataset_id).read_bytes() == b"abcdefghij"


def test_nothing_is_cleared_up_in_the_folder_of_another_database(part):
    dataset_id, _ = part
    orphan = uploads.folder_of("ds_" + "0" * 32)
    orphan.mkdir(parents=True)
    marker = settings().home / "id"
    before = marker.read_text()
    marker.write_text("another")
    try:
        with pytest.raises(homes.HomeError):
            uploads.expire_once()
    finally:
        marker.write_text(before)
    assert orphan.exists()
    assert uploads.content(dataset_id).is_file()


def test_whole_uploads_do_not_expire(part):
    dataset_id, writing = part
    writing.write(b"1234567")
    writing.keep()
    age(dataset_id, 100)
    assert uploads.expire_once() == 0
    assert uploads.content(dataset_id).is_file()


def test_what_no_dataset_owns_is_deleted(part):
    dataset_id, _ = part
    orphan = uploads.folder_of("ds_" + "0" * 32)
    orphan.mkdir(parents=True)
    (orphan / "upload").write_bytes(b"x")
    link = datasets.file("ds_" + "1" * 32)
    link.parent.mkdir(exist_ok=True)
    link.write_bytes(b"x")
    fresh = link.with_name(".ds_2.npz.0000")
    fresh.write_bytes(b"x")
    uploads.expire_once()
    assert not orphan.exists()
    assert not link.exists()
    assert fresh.exists()  # somebody is about to name it
    assert uploads.content(dataset_id).is_file()
    fresh.unlink()
    assert list(settings().datasets.iterdir()) == []


def test_names_of_datasets_are_those_that_the_library_looks_for(store):
    from npas.data import uploaded

    assert store.is_dir()
    assert uploaded.FOLDER == datasets.LIBRARY_FOLDER
    with transaction() as session:
        session.add(Dataset(id="ds_1", name="n", format="npz", upload_bytes=5))
    with reading() as session:
        found, has_more = datasets.listing_page(session, datasets.Wanted(), after=None, limit=1)
    assert ([row.id for row in found], has_more) == (["ds_1"], False)
