"""Plans that are kept: found for the same request alone, on the same data, and not too many."""

import os

import pytest
from npas.jobs.workload import Workload
from npas.spec import JobSpec
from npas_api import plan_cache
from npas_api.plan_cache import PlanCache, stamp

WORK = Workload(
    kind="",
    family="",
    stages=(),
    memory_bytes=1,
    file_bytes=1,
    resume_bytes=1,
    disk_bytes=1,
)
REQUEST = {"architecture": "resnet-8", "budget": {"fraction": 1}, "method": "dense"}


def spec(**changes):
    return JobSpec.model_validate({**REQUEST, "dataset": "digits", **changes})


@pytest.fixture(scope="module")
def document(client):
    """A plan."""
    return client.post("/v1/plans", json=REQUEST | {"dataset": "digits"}).text


@pytest.fixture
def cache(tmp_path, document):
    """A cache with one plan, and an empty folder of data."""
    made = PlanCache()
    made.keep(spec(), document, WORK, memory_bytes=7, before=stamp(tmp_path))
    return made


def test_plan_is_found_for_the_same_request_whatever_its_labels(cache, tmp_path, document):
    for same in (spec(), spec(labels={"n": "2"}), spec(priority=9)):
        kept = cache.find(same, tmp_path)
        assert (kept.document, kept.memory_bytes) == (document, 7)
        assert kept.plan.to_json() == document


def test_plan_is_not_found_for_another_request(cache, tmp_path):
    for other in (spec(seed=1), spec(budget={"fraction": 0.9}), spec(training={"epochs": 3})):
        assert cache.find(other, tmp_path) is None


def test_plan_for_a_board_is_not_found_once_the_table_changed(tmp_path, document, monkeypatch):
    table, folder = tmp_path / "boards.json", tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("NPAS_BOARDS", str(table))
    table.write_text('{"mine": {"flash_bytes": 5000}}')
    cache, asked = PlanCache(), {"budget": {"device": "mine"}}
    cache.keep(spec(**asked), document, WORK, memory_bytes=7, before=stamp(folder))
    assert cache.find(spec(**asked), folder) is not None
    table.write_text('{"mine": {"flash_bytes": 6000}}')
    assert cache.find(spec(**asked), folder) is None


def test_plan_is_not_found_once_the_data_changed(cache, tmp_path):
    (tmp_path / "new.npz").touch()
    assert cache.find(spec(), tmp_path) is None
    (tmp_path / "new.npz").unlink()
    assert cache.find(spec(), tmp_path) is None  # it is gone for good


def test_stamp_tells_what_is_written_anew(tmp_path):
    file = tmp_path / "a.npz"
    file.write_bytes(b"1")
    before = stamp(tmp_path)
    assert stamp(tmp_path) == before
    os.utime(file, ns=(1, 1))
    touched = stamp(tmp_path)
    file.write_bytes(b"22")
    os.utime(file, ns=(1, 1))
    assert len({before, touched, stamp(tmp_path)}) == 3
    assert stamp(tmp_path / "nowhere") == ()


def test_folder_of_too_many_files_keeps_nothing(tmp_path, document, monkeypatch):
    monkeypatch.setattr(plan_cache, "MAX_FILES", 1)
    for name in "ab":
        (tmp_path / name).touch()
    cache = PlanCache()
    cache.keep(spec(), document, WORK, memory_bytes=None, before=stamp(tmp_path))
    assert cache.find(spec(), tmp_path) is None


def test_plan_is_not_found_after_its_time(tmp_path, document, monkeypatch):
    monkeypatch.setattr(plan_cache, "KEEP_SECONDS", -1.0)
    cache = PlanCache()
    cache.keep(spec(), document, WORK, memory_bytes=None, before=stamp(tmp_path))
    assert cache.find(spec(), tmp_path) is None


def test_what_was_not_used_longest_makes_room(tmp_path, document, monkeypatch):
    monkeypatch.setattr(plan_cache, "MAX_BYTES", 2 * len(document))
    cache = PlanCache()
    for seed in (1, 2):
        cache.keep(spec(seed=seed), document, WORK, memory_bytes=None, before=stamp(tmp_path))
    cache.find(spec(seed=1), tmp_path)
    cache.keep(spec(seed=3), document, WORK, memory_bytes=None, before=stamp(tmp_path))
    assert [cache.find(spec(seed=n), tmp_path) is not None for n in (1, 2, 3)] == [
        True,
        False,
        True,
    ]
    monkeypatch.setattr(plan_cache, "MAX_BYTES", len(document) - 1)
    cache.keep(spec(seed=4), document, WORK, memory_bytes=None, before=stamp(tmp_path))
    assert cache.find(spec(seed=4), tmp_path) is None
