import json
from dataclasses import asdict
from pathlib import Path

import npas.data
import numpy as np
import pytest
import torch
from npas import registry
from npas.errors import DataError, InvalidSpecError, UnknownNameError
from npas.spec import DatasetSpec

WITH_ARGUMENTS = ("images", "npz", "uploaded")
"""They stand for files that there may be, not for one dataset."""
NAMED = [
    name.replace("_", "-") for name in registry.names("npas.data") if name not in WITH_ARGUMENTS
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_every_dataset_is_known_without_its_files(tmp_path: Path, name: str) -> None:
    facts = npas.data.facts(name, tmp_path)
    row = next(row for row in npas.data.catalogue(tmp_path) if row["name"] == name)

    assert row["facts"] == asdict(facts)
    assert row["title"]
    assert row["how"]
    if not row["available"]:
        with pytest.raises(DataError, match=name):
            npas.data.load(name, tmp_path)
        return
    one, other = npas.data.load(name, tmp_path), npas.data.load(name, tmp_path)
    assert one.fingerprint == other.fingerprint
    assert one.sizes == facts.sizes


def test_digits_are_all_there_in_a_stratified_split() -> None:
    digits = npas.data.load("digits")

    assert digits.x_train.shape == (1437, 1, 8, 8)
    assert digits.x_test.shape == (360, 1, 8, 8)
    assert digits.x_train.dtype == torch.uint8
    assert (int(digits.x_train.min()), int(digits.x_train.max())) == (0, 255)
    assert min(digits.y_test.bincount()) >= 35
    assert (digits.crop_padding, digits.flip) == (1, False)


def test_digits_are_the_same_every_time() -> None:
    fingerprint = npas.data.load("digits").fingerprint

    assert fingerprint == npas.data.load("digits").fingerprint
    assert fingerprint == "cbffa3c31df22e26998066dcea1c9c1879331e8a5e4d9f74b662d3d5e95a2738"


def test_mean_and_std_are_those_of_the_scaled_training_pixels(folder: Path) -> None:
    mine = npas.data.load("npz:mine", folder)

    scaled = mine.x_train.double() / 255
    assert mine.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert mine.std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist(), rel=1e-9)


def test_first_images_only(folder: Path) -> None:
    spec = DatasetSpec(name="npz:mine", train_images=11, test_images=3)

    few, whole = npas.data.load(spec, folder), npas.data.load("npz:mine", folder)

    assert torch.equal(few.x_train, whole.x_train[:11])
    assert torch.equal(few.y_test, whole.y_test[:3])
    assert few.num_classes == whole.num_classes
    assert few.fingerprint != whole.fingerprint
    facts = npas.data.facts(spec, folder)
    assert (facts.num_train, facts.num_test) == (11, 3)


@pytest.mark.parametrize("name", ["digits", "npz:mine"])
def test_facts_are_those_of_the_loaded_dataset(folder: Path, name: str) -> None:
    facts, dataset = npas.data.facts(name, folder), npas.data.load(name, folder)

    assert facts == npas.data.Facts(
        num_classes=dataset.num_classes,
        input_channels=dataset.input_channels,
        input_size=dataset.input_size,
        num_train=len(dataset.x_train),
        num_test=len(dataset.x_test),
    )


def test_facts_need_no_files_for_a_named_dataset(tmp_path: Path) -> None:
    assert npas.data.facts("cifar100", tmp_path).num_classes == 100
    assert npas.data.facts("fashion_mnist", tmp_path) == npas.data.facts("mnist", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_missing_data_says_what_to_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"python -m npas.data {name}"):
        npas.data.load(name, tmp_path)


def test_unknown_dataset_suggests_a_known_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean cifar10"):
        npas.data.load("cifar-10")


def test_argument_where_none_belongs_is_refused() -> None:
    with pytest.raises(DataError, match="takes nothing after a colon"):
        npas.data.facts("digits:8")


@pytest.mark.parametrize(
    ("field", "value"), [("image_size", 8), ("fit", "pad"), ("channels", 1), ("split_seed", 1)]
)
def test_options_of_images_are_refused_where_nothing_is_imported(field, value) -> None:
    spec = DatasetSpec.model_validate({"name": "digits", field: value})
    for read in (npas.data.load, npas.data.facts, npas.data.require):
        with pytest.raises(InvalidSpecError, match=f"{field} is for images") as caught:
            read(spec)
        assert caught.value.field == f"/dataset/{field}"


def test_fetch_of_what_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"numpy\.savez"):
        npas.data.fetch("npz:mine", tmp_path)


def test_catalogue_lists_what_is_there_and_how_to_get_the_rest(folder: Path) -> None:
    (folder / "broken.npz").write_text("no")
    np.savez(folder / "cifar10.npz", x_train=np.zeros(3))

    rows = {row["name"]: row for row in npas.data.catalogue(folder)}

    phases = {f"shortest-path:{phase}" for phase in range(1, 6)}
    assert rows.keys() == {*NAMED, *phases, "npz:mine", "npz:broken"}
    assert rows.keys() >= {"digits", "mnist", "fashion-mnist", "cifar10", "cifar100"}
    assert rows["digits"]["available"] is True
    assert rows["cifar100"]["available"] is False
    assert "python -m npas.data cifar100" in rows["cifar100"]["how"]
    assert rows["npz:mine"]["facts"]["num_classes"] == 4
    assert rows["npz:broken"]["available"] is False
    assert "not a readable .npz" in rows["npz:broken"]["how"]
    assert json.loads(json.dumps(rows)) == rows


def test_default_folder_is_the_environments(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("NPAS_DATA_FOLDER", str(folder))

    assert npas.data.load("npz:mine").num_classes == 4


def test_inputs_normalise_and_resize() -> None:
    digits = npas.data.load("digits")

    inputs = digits.inputs(input_size=16)(digits.x_train)

    assert inputs.shape == (1437, 1, 16, 16)
    plain = digits.inputs()(digits.x_train)
    assert plain.mean().item() == pytest.approx(0, abs=1e-4)
    assert plain.std().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("call", [npas.data.load, npas.data.facts, npas.data.require])
def test_names_that_are_paths_are_refused(call):
    with pytest.raises(InvalidSpecError, match="not a dataset") as caught:
        call("npz:../x")
    assert caught.value.field == "/dataset"
