"""A network that was trained elsewhere is brought into a budget, and healed by itself."""

import npas
import pytest
import torch
from npas.errors import InvalidSpecError, StartError
from npas.jobs import admission, identity
from npas.jobs.start import Start
from npas.run import run
from npas.spec import JobSpec
from safetensors.torch import save_file

DENSE = {
    "architecture": "resnet-14",
    "budget": {"fraction": 1.0},
    "method": "dense",
    "dataset": {"name": "digits", "train_images": 300, "test_images": 100},
    "training": {"epochs": 3, "batch_size": 32, "learning_rate": 0.05},
}
HEALED = DENSE | {
    "budget": {"fraction": 0.5},
    "method": {"name": "block_mix", "search": False},
    "training": {"epochs": 1, "batch_size": 32, "learning_rate": 0.02, "distillation": "start"},
}


def spec_of(**changes):
    return JobSpec.model_validate(HEALED | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network, trained without sharing: report and state dict."""
    torch.set_num_threads(1)
    made = run(JobSpec.model_validate(DENSE), folder=tmp_path_factory.mktemp("dense"))
    network = npas.load(made.files["model.safetensors"], materialise=True)
    return made.report, network.state_dict()


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    """Its weights alone, under the names that DistributedDataParallel gives them."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in trained[1].items()}, path)
    return path


def test_weights_are_fitted_and_healed_and_the_report_says_what_each_was_worth(
    trained, file, make_ear, tmp_path
):
    spec = spec_of()
    whole = run(spec, folder=tmp_path / "whole", device="cpu", start=file)
    told = whole.report
    assert told["parameters"] <= told["budget_parameters"] < 0.6 * trained[0]["parameters"]
    assert told["start"]["checkpoint"] == Start.read(file, whole.plan.networks).sha256
    assert told["start"]["source_accuracy"] == trained[0]["accuracy"]
    assert 0 < told["start"]["accuracy"] < told["start"]["source_accuracy"]
    assert told["start"]["aligned_blocks"] > 0
    assert told["accuracy"] > told["start"]["accuracy"]
    assert told["distillation"]["teacher"] == "start"
    assert told["distillation"]["accuracy"] == trained[0]["accuracy"]
    assert told["distillation"]["sha256"] == told["start"]["checkpoint"]
    paused = make_ear("pause", 4)
    run(spec, folder=tmp_path / "one", device="cpu", listener=paused, start=file)
    again = run(
        spec,
        folder=tmp_path / "two",
        device="cpu",
        start=file,
        resume_from=paused.files[-1][0],
    )
    assert again.report["sha256"] == told["sha256"]
    assert again.report["start"] == told["start"]


def test_norms_are_measured_anew_and_outputs_can_be_fitted(file, make_ear, tmp_path):
    found = {}
    for fit in ("aligned", "weights", "activations"):
        sha256 = Start.read(file, npas.plan(spec_of()).networks).sha256
        spec = spec_of(start={"checkpoint": sha256, "fit": fit})
        ear = make_ear("finish", 0)
        made = run(spec, folder=tmp_path / fit, device="cpu", listener=ear, start=file)
        found[fit] = npas.load(made.files["model.safetensors"]).state_dict()
        assert made.report["accuracy"] == made.report["start"]["accuracy"] > 0.1
    for one, two in (("aligned", "weights"), ("aligned", "activations")):
        assert any(not torch.equal(found[one][name], found[two][name]) for name in found[one])


def test_a_network_without_sharing_is_trained_on_from_its_weights(
    trained, file, make_ear, tmp_path
):
    spec = JobSpec.model_validate(DENSE)
    made = run(spec, folder=tmp_path, listener=make_ear("finish", 0), device="cpu", start=file)
    ours = npas.load(made.files["model.safetensors"], materialise=True).state_dict()
    learned = [name for name in ours if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(ours[name], trained[1][name]) for name in learned)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("fc.bias"), r"no 'fc.bias' of shape \(10,\)"),
        (lambda state: state.update(more=torch.zeros(1)), "the network has no 'more'"),
        (lambda state: state.update({"fc.bias": torch.zeros(9)}), r"'fc.bias' is \(9,\) in"),
    ],
)
def test_file_of_another_network_is_refused_by_the_first_tensor(trained, change, told, tmp_path):
    state = dict(trained[1])
    change(state)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    named = spec_of(start={"checkpoint": "0" * 64})
    for act in (
        lambda: run(spec_of(), folder=tmp_path / "out", device="cpu", start=path),
        lambda: admission.admit(named, start=path),
    ):
        with pytest.raises(StartError, match=told) as caught:
            act()
        assert caught.value.field == "/start/checkpoint"


def test_weights_that_are_no_numbers_are_refused(trained, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(trained[1] | {"fc.bias": torch.full((10,), float("nan"))}, path)
    with pytest.raises(StartError, match=r"'fc\.bias' holds infinite numbers or none"):
        run(spec_of(), folder=tmp_path / "out", device="cpu", start=path)


def test_admission_plans_and_weighs_what_starts_from_weights(file):
    spec = spec_of(start={"checkpoint": "0" * 64})
    assert admission.admit(spec, start=file, memory_bytes=2**33) == npas.plan(spec_of())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "it starts from none: give start too"),
        ({"start": {"checkpoint": "0" * 64, "join": True}}, "the networks that the job's join"),
    ],
)
def test_teacher_that_is_no_start_is_refused(changes, told, file, tmp_path):
    spec = spec_of(**changes)
    with pytest.raises(InvalidSpecError, match=told) as caught:
        run(spec, folder=tmp_path, device="cpu") if not changes else admission.admit(
            spec, start=file
        )
    assert caught.value.field == "/training/distillation/teacher"


def test_how_weights_are_fitted_tells_jobs_apart_only_where_it_was_asked_for():
    plain = {"checkpoint": "0" * 64}
    digests = {
        identity.request_digest(spec_of(start=plain | fit), None)
        for fit in ({}, {"fit": "activations"}, {"fit": "weights"})
    }
    assert len(digests) == 2
