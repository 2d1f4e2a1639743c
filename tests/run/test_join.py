"""A job whose networks join the bank of a file."""

import npas
import pytest
import torch
from npas import data
from npas.errors import InvalidSpecError, StartError
from npas.jobs import admission
from npas.run import run
from npas.spec import JobSpec

OLD = [{"name": n, "architecture": a} for n, a in (("deep", "resnet-14"), ("short", "resnet-8"))]
REQUEST = {
    "budget": {"fraction": 0.5},
    "method": {"name": "block_mix", "search": False},
    "dataset": {"name": "digits", "train_images": 300, "test_images": 100},
    "training": {"epochs": 2, "batch_size": 32},
    "corrupted_images": 0,
}
NEW = [{"name": "late", "architecture": "wrn-10-1"}]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    torch.set_num_threads(1)
    spec = JobSpec.model_validate({**REQUEST, "networks": OLD})
    return run(spec, folder=tmp_path_factory.mktemp("parent"), device="cpu")


@pytest.fixture(scope="module")
def file(parent):
    return parent.files["model.safetensors"]


@pytest.fixture(scope="module")
def spec_of(parent):
    def make(networks=NEW, frozen=True, **changes):
        start = {"checkpoint": parent.report["sha256"], "join": True, "frozen": frozen}
        request = {**REQUEST, "networks": networks, "start": start, "budget": {"fraction": 0.3}}
        return JobSpec.model_validate(request | changes)

    return make


@pytest.fixture(scope="module")
def joined(file, spec_of, tmp_path_factory):
    return run(spec_of(), folder=tmp_path_factory.mktemp("joined"), device="cpu", start=file)


@pytest.fixture(scope="module")
def images():
    found = data.load(JobSpec.model_validate({**REQUEST, "networks": OLD}).dataset)
    return found.inputs()(found.x_test)


def test_the_old_networks_stay_as_they_were_to_the_bit(file, joined, images):
    before, after = (npas.load(each) for each in (file, joined.files["model.safetensors"]))
    with torch.no_grad():
        old, new = before.members(images), after.members(images)
    assert list(new) == ["deep", "short", "late"]
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_the_report_says_what_the_network_cost(file, parent, joined):
    told = joined.report["start"]["joined"]
    added = joined.plan.ledger.total - parent.plan.ledger.total
    assert told["networks"] == ["late"]
    assert told["is_frozen"]
    assert told["parameters"] == added
    assert told["dense_parameters"] == joined.plan.ledger.dense - parent.plan.ledger.dense
    assert added / told["dense_parameters"] == told["share"] <= 0.3
    sizes = [path.stat().st_size for path in (file, joined.files["model.safetensors"])]
    assert told["file_bytes"] == sizes[1] - sizes[0]
    assert joined.report["start"]["accuracy"] < 0.5
    late = joined.report["networks"][2]
    assert late["name"] == "late"
    assert late["accuracy"] > joined.report["start"]["accuracy"]
    assert len(joined.report["ensemble"]["subsets"]) == 7


def test_a_paused_job_ends_with_the_same_file(file, spec_of, joined, make_ear, tmp_path):
    paused = make_ear("pause", 5)
    run(spec_of(), folder=tmp_path / "one", device="cpu", listener=paused, start=file)
    again = run(
        spec_of(),
        folder=tmp_path / "two",
        device="cpu",
        resume_from=paused.files[-1][0],
        start=file,
        plan=admission.admit(spec_of(), start=file),
    )
    assert again.report["sha256"] == joined.report["sha256"]


def test_where_nothing_is_frozen_all_learn(file, spec_of, images, tmp_path):
    outcome = run(spec_of(frozen=False), folder=tmp_path, device="cpu", start=file)
    before, after = (npas.load(each) for each in (file, outcome.files["model.safetensors"]))
    with torch.no_grad():
        old, new = before.members(images), after.members(images)
    assert not any(torch.equal(old[name], new[name]) for name in old)


def test_what_cannot_join_is_refused_before_it_waits(file, spec_of):
    with pytest.raises(InvalidSpecError, match="another name"):
        admission.admit(spec_of([{"name": "deep", "architecture": "wrn-10-1"}]), start=file)
    other = {"name": "fashion-mnist", "train_images": 100, "test_images": 100}
    with pytest.raises(StartError, match="input_size"):
        admission.admit(spec_of(dataset=other), start=file)


def test_frozen_without_join_is_refused(parent):
    with pytest.raises(ValueError, match="frozen is for networks that join"):
        JobSpec.model_validate(
            {
                **REQUEST,
                "networks": OLD,
                "start": {"checkpoint": parent.report["sha256"], "frozen": False},
            }
        )
