"""Exports in the store: asked for, taken by one at a time, ended once; what is lost of them."""

import pytest
from npas.spec.export import ExportSpec
from npas_store import artifacts, blobs, exports, fsck, garbage, resume_files, retention
from npas_store.database import reading, transaction
from npas_store.export_tables import Export
from npas_store.jobs import NoSuchJobError
from npas_store.settings import settings
from npas_store.transitions import reason
from sqlalchemy import func, update

SPEC = ExportSpec(to="safetensors")
FACTS = {"keeps_sharing": False}


@pytest.fixture
def job_id(deliver):
    """A job that has delivered a file, with nothing left over."""
    job = deliver(**{"model.safetensors": "the network"})
    with transaction() as session:
        resume_files.retire(session, job.id)
    return job.id


def ask(job_id, spec=SPEC):
    with transaction() as session:
        row, is_new = exports.request_export(session, job_id, spec, FACTS)
        return row.id, is_new


def take():
    with transaction() as session:
        return exports.take_export(session)


def end(making, tmp_path, content="product", name="weights.safetensors"):
    """Deliver the file of a try; return whether it counted, and the blob."""
    (tmp_path / "product").write_text(content)
    blob = blobs.put(tmp_path / "product")
    with transaction() as session:
        garbage.secure(session, {tmp_path / "product": blob})
        facts = {**FACTS, "file_bytes": blob.bytes}
        is_counted = exports.accept_export(session, making, name, blob, facts)
    return is_counted, blobs.path(blob.sha256)


def run_out():
    """Have all leases run out."""
    with transaction() as session:
        session.execute(update(Export).values(lease_until=func.now()))


def only(job_id):
    with reading() as session:
        (row,) = exports.exports_of(session, job_id)
    return row


def test_same_export_is_one_and_others_are_others(job_id):
    first, is_new = ask(job_id)
    assert is_new
    assert ask(job_id) == (first, False)
    other, is_new = ask(job_id, ExportSpec(to="onnx"))
    assert is_new
    with reading() as session:
        assert [row.id for row in exports.exports_of(session, job_id)] == [first, other]
        assert exports.export_of(session, job_id, first).facts == FACTS
        assert exports.export_of(session, "job_other", first) is None


def test_job_that_is_gone_has_none(store):
    assert store.is_dir()
    with pytest.raises(NoSuchJobError):
        ask("job_gone")


def test_one_makes_it_and_when_its_lease_ran_out_another(job_id, tmp_path):
    ask(job_id)
    late = take()
    with reading() as session:
        model = artifacts.find(session, job_id, "model.safetensors")
    assert (late.number, late.spec["to"], late.model) == (1, "safetensors", model.sha256)
    assert take() is None
    run_out()
    following = take()
    assert (following.export_id, following.number) == (late.export_id, 2)
    assert end(late, tmp_path, "late")[0] is False
    assert end(following, tmp_path)[0] is True
    row = only(job_id)
    assert (row.state, row.artifact, row.facts["file_bytes"]) == (
        *("succeeded", "weights.safetensors"),
        len("product"),
    )
    assert end(following, tmp_path)[0] is False
    assert take() is None


def test_failed_one_is_tried_again_from_the_first_attempt(job_id):
    ask(job_id)
    making = take()
    with transaction() as session:
        assert exports.refuse_export(session, making, reason("export_failed", "no"))
    assert only(job_id).state == "failed"
    assert ask(job_id) == (making.export_id, True)
    assert (only(job_id).state, only(job_id).reason) == ("queued", None)
    again = take()
    assert (again.number, again.attempt) == (2, 1)


def test_try_of_an_earlier_request_changes_nothing_of_a_later_one(job_id, in_environment):
    ask(job_id)
    late = take()
    with in_environment(NPAS_MAX_ATTEMPTS="1"):
        run_out()
        assert take() is None
    assert only(job_id).state == "failed"
    assert ask(job_id)[1] is True
    following = take()
    with transaction() as session:
        assert not exports.renew_export(session, late)
        assert not exports.refuse_export(session, late, reason("export_failed", "late"))
    with transaction() as session:
        assert exports.give_export_back(session, following)
    run_out()
    last = take()
    assert last.attempt == following.attempt == 1
    with transaction() as session:
        assert not exports.renew_export(session, following)
        assert exports.renew_export(session, last)


def test_lost_tries_are_counted_and_given_back_ones_are_not(job_id, in_environment):
    ask(job_id)
    with in_environment(NPAS_MAX_ATTEMPTS="2", NPAS_RETRY_SECONDS="0"):
        with transaction() as session:
            making = exports.take_export(session)
            assert exports.give_export_back(session, making, reason("disk_full", "no room"))
        assert only(job_id).reason["code"] == "disk_full"
        for number in (1, 2):
            run_out()
            making = take()
            assert making.attempt == number
            with transaction() as session:
                assert exports.lose_export(session, making, "killed")
        run_out()
        assert take() is None
    row = only(job_id)
    assert (row.state, row.reason["code"]) == ("failed", "export_lost")
    assert "lost 2 times, the last time: killed" in row.reason["message"]


@pytest.mark.parametrize("is_there", [False, True])
def test_one_whose_file_is_lost_is_made_anew(job_id, tmp_path, is_there):
    ask(job_id)
    _, blob = end(take(), tmp_path)
    assert ask(job_id)[1] is False
    blob.unlink()
    if is_there:
        blob.write_text("damaged")
    assert ask(job_id)[1] is True
    row = only(job_id)
    assert (row.state, row.artifact, row.attempts, row.facts) == ("queued", None, 0, FACTS)
    assert end(take(), tmp_path)[0] is True
    assert blob.read_text() == "product"
    assert ask(job_id)[1] is False


def test_no_export_replaces_a_file_that_the_job_delivered(job_id, tmp_path):
    ask(job_id)
    making = take()
    with reading() as session:
        before = artifacts.find(session, job_id, "model.safetensors").sha256
    end(making, tmp_path, name="model.safetensors")
    with reading() as session:
        found = artifacts.find(session, job_id, "model.safetensors")
    assert (found.sha256, found.kind) == (before, "model")
    row = only(job_id)
    assert (row.state, row.artifact, row.reason["code"]) == ("failed", None, "export_failed")
    assert "a file of its own as model.safetensors" in row.reason["message"]


def test_lost_file_is_found_and_marked(job_id, tmp_path):
    ask(job_id)
    _, blob = end(take(), tmp_path)
    assert [*fsck.findings(seconds=0)] == []
    blob.unlink()
    (found,) = fsck.findings(seconds=0)
    assert (found.kind, found.told) == ("missing", f"weights.safetensors of {job_id}")
    found.repair()
    assert [*fsck.findings(seconds=0)] == []
    row = only(job_id)
    assert (row.state, row.artifact, row.reason["code"]) == ("failed", None, "export_lost")
    with reading() as session:
        names = [each.name for each in artifacts.listing(session, job_id)]
    assert names == ["model.safetensors"]
    assert ask(job_id)[1] is True


def test_folders_of_tries_that_were_killed_are_found_and_deleted(job_id):
    ask(job_id)
    making = take()
    place = settings().jobs / job_id
    names = (f"export-{making.export_id}-1", f"export-{making.export_id}-7", "export-exp_0-1")
    own, killed, gone = (place / name for name in names)
    for folder in (own, killed, gone, place / "export-others"):
        folder.mkdir(parents=True)
        (folder / "product").write_text("half of a file")
    assert {*exports.unneeded_folders()} == {killed, gone}
    assert {each.file for each in fsck.findings(seconds=0)} == {killed, gone}
    assert retention.tidy_once().files == 2
    assert (own.exists(), killed.exists(), gone.exists()) == (True, False, False)
    with transaction() as session:
        assert exports.refuse_export(session, making, reason("export_failed", "no"))
    (found,) = fsck.findings(seconds=0)
    assert found.file == own
    found.repair()
    assert not own.exists()
