"""A job on image files: the digits, as somebody may have them in folders."""

import json

import npas
import npas.data
import numpy as np
import pytest
from npas.jobs import identity
from npas.run import run
from npas.spec import DatasetSpec, JobSpec
from PIL import Image


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """Digits in train/CLASS/ and test/CLASS/, few of some classes; one file is damaged."""
    folder = tmp_path_factory.mktemp("data")
    digits = npas.data.load("digits")
    names = ("zero", "one", "two", "three")
    for split, x, y in (
        ("train", digits.x_train, digits.y_train),
        ("test", digits.x_test, digits.y_test),
    ):
        for label, name in enumerate(names):
            place = folder / "digits-in-files" / split / name
            place.mkdir(parents=True)
            chosen = x[y == label][: 15 if name == "two" else 90]
            for index, image in enumerate(chosen):
                Image.fromarray(image[0].numpy()).save(place / f"{index}.png")
    (folder / "digits-in-files/train/one/3.png").write_bytes(b"damaged")
    return folder


@pytest.fixture(scope="module")
def spec():
    return JobSpec.model_validate(
        {
            "architecture": "resnet-8",
            "budget": {"fraction": 0.6},
            "method": {"name": "auto", "methods": ["block_mix", "uniform"]},
            "dataset": "images:digits-in-files",
            "training": {
                "epochs": 4,
                "batch_size": 32,
                "balance": "weights",
                "distillation": "dense",
                "validation_fraction": 0.5,
            },
        }
    )


@pytest.fixture(scope="module")
def outcome(spec, data_folder, tmp_path_factory):
    return run(spec, folder=tmp_path_factory.mktemp("out"), data_folder=data_folder, device="cpu")


def test_job_on_files_with_race_search_teacher_and_balance_knows_its_classes(outcome):
    report = outcome.report
    assert report["dataset"] == "images:digits-in-files"
    assert report["accuracy"] > 0.6
    assert 0.5 < report["macro_f1"] <= 1
    assert report["confusion"]["classes"] == ["one", "three", "two", "zero"]
    counts = np.array(report["confusion"]["counts"])
    assert counts.sum() == report["test_images"]
    assert np.trace(counts) / counts.sum() == pytest.approx(report["accuracy"])
    assert report["race"]["method"]
    assert report["distillation"]["accuracy"] is not None
    imported = report["dataset_import"]
    assert imported["num_skipped"] == 1
    assert imported["splits"].startswith("validation: 10 %")
    assert "confusion.svg" in outcome.files
    assert json.loads(outcome.files["report.json"].read_text()) == report


def test_file_knows_what_class_3_is(outcome):
    model = npas.load(outcome.files["model.safetensors"])
    assert model.extra["class_names"][3] == "zero"
    assert model.extra["dataset_fingerprint"] == outcome.report["dataset_fingerprint"]


def test_own_validation_images_are_held_out_whatever_the_fraction(spec, data_folder):
    from npas.train.batches import Batches, largest_batch

    made = npas.data.load(spec.dataset, data_folder)
    facts = npas.data.facts(spec.dataset, data_folder)
    batches = Batches(made, spec.training, seed=0, stage="train", device="cpu")
    assert len(batches.labels) == len(made.y_train) == facts.num_train
    assert batches.validation[0].equal(made.x_validation)
    sizes = [len(batches.get(0, index)[1]) for index in range(batches.per_epoch)]
    validation = facts.num_validation
    assert largest_batch(facts.num_train, spec.training, validation=validation) == max(sizes)


def test_options_at_their_defaults_leave_an_identity_as_it_was(spec):
    plain = identity.request_digest(spec, None)
    for dataset in (
        {"fit": "crop", "channels": "auto", "split_seed": 0, "drop_duplicates": False},
        {"image_size": None},
    ):
        same = DatasetSpec.model_validate({"name": spec.dataset.name} | dataset)
        assert identity.request_digest(spec.model_copy(update={"dataset": same}), None) == plain
    other = DatasetSpec(name=spec.dataset.name, fit="pad")
    assert identity.request_digest(spec.model_copy(update={"dataset": other}), None) != plain
