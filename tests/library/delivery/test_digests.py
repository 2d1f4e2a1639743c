"""A file says of itself whether its tensors and its metadata are those that were written."""

import json

import npas
import pytest
import torch
from npas.delivery import checkpoint
from npas.errors import CheckpointError
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small checkpoint."""
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    plan = npas.plan("resnet-8", budget={"fraction": 0.6}, method="superweights")
    npas.save(npas.share(npas.build("resnet-8", seed=1), plan, seed=1), path, extra={"score": 0.5})
    return path


def note_of(path):
    with checkpoint.safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["npas"])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_load_refuses_a_flipped_bit_in_any_tensor(saved, tmp_path, share):
    whole = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    whole[header + int(share * (len(whole) - header))] ^= 1
    (tmp_path / "model").write_bytes(whole)
    with pytest.raises(CheckpointError, match="its tensors were changed"):
        npas.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["buffer", "bank"])
def test_load_refuses_tensors_of_another_value(saved, tmp_path, name):
    tensors = load_file(saved)
    changed = next(
        n for n in tensors if ("running_mean" if name == "buffer" else "templates") in n
    )
    tensors[changed] = tensors[changed].nextafter(torch.tensor(torch.inf))
    save_file(tensors, tmp_path / "model", metadata={"npas": json.dumps(note_of(saved))})
    with pytest.raises(CheckpointError, match="its tensors were changed"):
        npas.load(tmp_path / "model")


def test_load_refuses_tensors_that_changed_names(saved, tmp_path):
    tensors = load_file(saved)
    one, other = [n for n in tensors if n.endswith("running_mean") and len(tensors[n]) == 16][:2]
    tensors[one], tensors[other] = tensors[other] + 1, tensors[one]
    save_file(tensors, tmp_path / "model", metadata={"npas": json.dumps(note_of(saved))})
    with pytest.raises(CheckpointError, match="its tensors were changed"):
        npas.load(tmp_path / "model")


def with_another_extra(note):
    note["extra"]["score"] = 0.75


def with_another_plan(note):
    note["plan"]["options"] = {"bins": 3}


def with_an_older_format(note):
    note["format"] = checkpoint.BEFORE_DIGESTS


@pytest.mark.parametrize("edit", [with_another_extra, with_another_plan, with_an_older_format])
def test_metadata_that_was_edited_is_refused(saved, tmp_path, edit):
    note = note_of(saved)
    edit(note)
    save_file(load_file(saved), tmp_path / "model", metadata={"npas": json.dumps(note)})
    for read in (npas.load, checkpoint.read_metadata):
        with pytest.raises(CheckpointError, match=r"metadata, .* was changed"):
            read(tmp_path / "model")


def test_load_reads_a_file_from_before_digests(saved, tmp_path):
    note = note_of(saved) | {"format": "npas-1"}
    del note["digests"]
    save_file(load_file(saved), tmp_path / "model", metadata={"npas": json.dumps(note)})
    old, new = npas.load(tmp_path / "model"), npas.load(saved)
    assert old.plan == new.plan
    assert old.extra == new.extra == {"score": 0.5}
    for name, tensor in new.state_dict().items():
        assert torch.equal(old.state_dict()[name], tensor)


def test_digests_are_of_the_metadata_as_it_is_read_back(saved, tmp_path):
    """JSON knows no keys but strings, which sort otherwise than numbers do."""
    extra = {"counts": {10: 1, 9: 2}, "pair": (1, 2), "text": "\u00e9 \ud800"}
    npas.save(npas.load(saved), tmp_path / "model", extra=extra)
    read = npas.load(tmp_path / "model").extra
    assert read["counts"] == {"10": 1, "9": 2}
    assert read["pair"] == [1, 2]
