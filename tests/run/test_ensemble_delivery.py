"""One bank, several networks: what a job delivers of them, and what can be made of its file."""

import dataclasses
import itertools
import math

import npas
import pytest
import torch
from npas.arch.footprint import footprint
from npas.data import Facts
from npas.delivery.together import check_corrupted, num_corrupted
from npas.ensembles.ladder import Ladder
from npas.ensembles.scores import score
from npas.errors import InvalidSpecError
from npas.run import run
from npas.sharing.restriction import num_read

SEVERAL = [
    {"name": name, "architecture": architecture}
    for name, architecture in (("wide", "wrn-10-1"), ("deep", "resnet-14"), ("short", "resnet-8"))
]
NAMES = [each["name"] for each in SEVERAL]
CORRUPTED = 20


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, request_of_several):
    return run(request_of_several, folder=tmp_path_factory.mktemp("job"), device="cpu")


@pytest.fixture(scope="module")
def request_of_several():
    return npas.JobSpec.model_validate(
        {
            "networks": SEVERAL,
            "budget": {"fraction": 0.4},
            "method": {"name": "superweights", "search": False},
            "dataset": {"name": "digits", "train_images": 600, "test_images": 150},
            "training": {"epochs": 3, "batch_size": 32, "schedule": "cosine"},
            "corrupted_images": CORRUPTED,
        }
    )


@pytest.fixture(scope="module")
def loaded(outcome):
    return npas.load(outcome.files["model.safetensors"])


@pytest.fixture(scope="module")
def test_images(request_of_several):
    """Return what the networks read of the test images, and the labels."""
    found = npas.data.load(request_of_several.dataset)
    return found.inputs()(found.x_test), found.y_test


def test_every_subset_is_graded_as_it_answers(outcome, loaded, test_images):
    x, labels = test_images
    told = {tuple(each["networks"]): each for each in outcome.report["ensemble"]["subsets"]}
    wanted = [n for size in (1, 2, 3) for n in itertools.combinations(NAMES, size)]
    assert sorted(told) == sorted(wanted)
    macs = {n.name: footprint(n.architecture, batch=2).macs for n in outcome.plan.networks}
    for names, each in told.items():
        with torch.no_grad():
            found = score(loaded.ensemble(names)(x), labels)
        assert each["accuracy"] == pytest.approx(found.accuracy, abs=0.01)
        assert each["nll"] == pytest.approx(found.nll, abs=1e-4)
        assert each["macs"] == sum(macs[name] for name in names)
        assert each["parameters"] == num_read(outcome.plan, names)
        assert each["milliseconds"] > 0
        assert (each["disagreement"] is None) == (len(names) == 1)
    whole = told[tuple(NAMES)]
    assert whole["parameters"] == outcome.report["parameters"]
    assert whole["accuracy"] == outcome.report["accuracy"]
    assert whole["nll"] == pytest.approx(outcome.report["nll"], rel=1e-6)
    costs = [each["macs"] for each in outcome.report["ensemble"]["subsets"]]
    assert costs == sorted(costs)


def test_the_envelope_rises(outcome):
    subsets = outcome.report["ensemble"]["subsets"]
    best = [(each["macs"], each["accuracy"]) for each in subsets if each["is_on_envelope"]]
    assert best == sorted(best)
    assert [value for _, value in best] == sorted({value for _, value in best})
    assert max(each["accuracy"] for each in subsets) == best[-1][1]


def test_disagreement_is_that_of_the_networks(outcome, loaded, test_images):
    x, _ = test_images
    with torch.no_grad():
        said = {name: logits.argmax(1) for name, logits in loaded.members(x).items()}
    matrix = outcome.report["ensemble"]["disagreement"]
    for (i, one), (j, other) in itertools.product(enumerate(NAMES), repeat=2):
        wanted = (said[one] != said[other]).double().mean().item()
        assert matrix[i][j] == pytest.approx(wanted, abs=0.01)


def test_reliability_counts_all_images(outcome):
    found = outcome.report["ensemble"]["reliability"]
    assert [each["network"] for each in found] == ["", *NAMES]
    accuracies = [outcome.report["accuracy"], *(n["accuracy"] for n in outcome.report["networks"])]
    for each, accuracy in zip(found, accuracies, strict=True):
        assert sum(each["images"]) == 150
        assert sum(each["right"]) == round(150 * accuracy)


def test_the_file_answers_early_as_the_report_says(outcome, loaded, test_images):
    x, labels = test_images
    told = outcome.report["ensemble"]["anytime"]
    assert told["held_out_images"] == 60
    assert Ladder.model_validate(loaded.extra["ladder"]) == Ladder.model_validate(told["ladder"])
    answers = list(loaded.anytime().answers(x))
    for answer, reached in zip(answers, told["reached"], strict=True):
        found = score(answer.log_p, labels)
        assert reached["accuracy"] == pytest.approx(found.accuracy, abs=0.01)
        assert reached["macs"] == answer.macs[0]
    if told["stop"]:
        answer = loaded.anytime()(x)
        assert told["stop"]["macs"] == pytest.approx(answer.macs.double().mean().item(), rel=0.02)
        assert sum(told["stop"]["images"]) == 150


def test_corrupted_images_are_graded_in_every_way(outcome):
    found = outcome.report["ensemble"]["robustness"]
    assert found["images"] == CORRUPTED
    assert len({(each["corruption"], each["severity"]) for each in found["corruptions"]}) == 75
    mean = math.fsum(each["accuracy"] for each in found["corruptions"]) / 75
    assert found["together"]["accuracy"] == pytest.approx(mean)
    assert mean < outcome.report["accuracy"]
    assert len(found["networks"]) == 3


def test_pictures_are_delivered(outcome):
    assert {"ensemble_cost.svg", "reliability.svg", "disagreement.svg"} <= outcome.files.keys()


def test_a_member_has_a_file_of_its_own(outcome, loaded, test_images, tmp_path):
    x, _ = test_images
    whole = outcome.files["model.safetensors"].stat().st_size
    for name in NAMES:
        member = loaded.member(name)
        npas.save(member, tmp_path / f"{name}.safetensors")
        again = npas.load(tmp_path / f"{name}.safetensors")
        with torch.no_grad():
            assert torch.equal(again(x), member(x))
            assert torch.allclose(member(x), loaded.members(x)[name], atol=1e-4)
        assert (tmp_path / f"{name}.safetensors").stat().st_size < whole
        parameters = sum(p.numel() for p in again.parameters())
        assert parameters == again.plan.ledger.total <= again.plan.ledger.dense
        assert parameters <= num_read(outcome.plan, [name])


def test_memory_holds_what_is_shared_once(loaded):
    storages = [p.untyped_storage().data_ptr() for p in loaded.parameters()]
    assert len(storages) == len(set(storages))
    of_ensemble = [p.untyped_storage().data_ptr() for p in loaded.ensemble().parameters()]
    assert sorted(of_ensemble) == sorted(storages)


def test_the_same_request_gives_the_same_file(outcome, request_of_several, tmp_path):
    again = run(request_of_several, folder=tmp_path, device="cpu")
    assert again.report["sha256"] == outcome.report["sha256"]


def test_a_lone_network_and_cells_have_no_ensemble(make_spec, tmp_path):
    assert run(make_spec(), folder=tmp_path / "lone").report.get("ensemble") is None
    grids = [{"name": name, "architecture": "grid-cnn-2-8"} for name in ("one", "other")]
    spec = make_spec(
        architecture=None,
        networks=grids,
        dataset={"name": "shortest-path:1", "train_images": 60, "test_images": 20},
        training={"epochs": 1, "batch_size": 32},
        method={"name": "superweights", "search": False},
    )
    report = run(spec, folder=tmp_path / "cells").report
    assert report.get("ensemble") is None
    assert [each["name"] for each in report["networks"]] == ["one", "other"]


def test_images_that_cannot_be_corrupted_are_not(request_of_several):
    facts = Facts(num_classes=3, input_channels=4, input_size=8, num_train=10**6, num_test=100)
    assert num_corrupted("auto", request_of_several.training, facts) == 0
    check_corrupted("auto", 2, facts)
    check_corrupted(5, 1, facts)
    with pytest.raises(InvalidSpecError, match="4 channels") as caught:
        check_corrupted(5, 2, facts)
    assert caught.value.field == "/corrupted_images"
    with pytest.raises(InvalidSpecError, match="6 pixels"):
        check_corrupted(5, 2, dataclasses.replace(facts, input_channels=3, input_size=6))
