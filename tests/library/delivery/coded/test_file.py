"""A coded file is what was rounded, read by numpy alone too; what is wrong with one is told."""

import copy
import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import brotli
import npas
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.delivery.coded.file import CodedFile, Content, is_coded
from npas.delivery.coded.layout import _KINDS, Table
from npas.errors import CheckpointError
from safetensors.numpy import load_file, save_file
from torch import nn

FEW = settings(deadline=None, derandomize=True, max_examples=25)
METADATA = {"npas": '{"format": "npas-coded-1"}'}
DECODER = Path(__file__).parents[4] / "docs" / "coded-files.md"


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    """A network with several layers in one bank, and its file."""
    path = tmp_path_factory.mktemp("coded") / "model.safetensors"
    model = network("soft_sharing", {"fraction": 0.98})
    npas.save(model, path, bytes=30_000, extra={"note": [1, "x"]})
    return model, path


def rewritten(saved, path, change):
    """Write the file anew, with what `change` makes of table and note, under a right digest."""
    coded = CodedFile.read(saved)
    note, table = change({**coded.note}, coded.table.to_json())
    Content(table=Table.of_json(table), streams=coded.streams).write(note, path)
    return path


def test_file_holds_what_was_rounded_and_no_more_bytes_than_asked(saved):
    model, path = saved
    assert 0.995 * 30_000 <= os.stat(path).st_size <= 30_000
    assert is_coded(path)
    loaded = npas.load(path)
    assert (loaded.plan, loaded.extra) == (model.plan, {"note": [1, "x"]})
    table = CodedFile.read(path).table
    steps = {row.name: row.step for row in table.codes}
    assert any(name.startswith("groups.") for name in steps)
    for name, tensor in loaded.state_dict().items():
        exact = model.state_dict()[name]
        if name in steps:
            assert (tensor - exact).abs().max() <= 0.501 * steps[name]
        else:
            assert torch.allclose(tensor.double(), exact.double(), rtol=2**-6, atol=0)


def test_loaded_and_saved_again_it_is_the_same(saved, tmp_path):
    """The same bytes, whatever is done beside its weights; plain ones where asked for."""
    loaded = npas.load(saved[1])
    for model in (loaded, copy.deepcopy(loaded), npas.load(saved[1]).train()):
        npas.save(model, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == saved[1].read_bytes()
    npas.save(loaded, tmp_path / "plain", bytes=10_000_000)
    assert not is_coded(tmp_path / "plain")
    again = npas.load(tmp_path / "plain")
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_saved_with_other_words_beside_it_only_they_differ(saved, tmp_path):
    loaded = npas.load(saved[1])
    npas.save(loaded, tmp_path / "again", extra={"note": "another"})
    again = npas.load(tmp_path / "again")
    assert (again.extra, again.origin.coded) == ({"note": "another"}, loaded.origin.coded)
    state = loaded.state_dict()
    assert all(torch.equal(tensor, state[n]) for n, tensor in again.state_dict().items())


def test_a_plan_in_bytes_holds_whatever_became_of_the_weights(network, tmp_path):
    model, path = network("superweights", {"bytes": 9_000}), tmp_path / "model"
    npas.save(model, path)
    for change in (0.01, 0.0, float("nan")):  # trained on, as it was read, diverged
        loaded = npas.load(path)
        with torch.no_grad():
            next(loaded.parameters()).view(-1)[0] += change
        if change != change:
            with pytest.raises(CheckpointError, match="finite"):
                npas.save(loaded, tmp_path / "again")
            continue
        npas.save(loaded, tmp_path / "again")
        assert os.stat(tmp_path / "again").st_size <= 9_000
    npas.save(npas.load(path), tmp_path / "smaller", bytes=8_000)
    assert os.stat(tmp_path / "smaller").st_size <= 8_000
    with pytest.raises(CheckpointError, match="too few"):  # nothing of it can be rounded
        npas.save(npas.load(path).double(), tmp_path / "again")


def test_weights_that_changed_are_plain_where_the_plan_counts_parameters(saved, tmp_path):
    loaded = npas.load(saved[1])
    with torch.no_grad():
        next(loaded.parameters()).view(-1)[0] += 0.01
    npas.save(loaded, tmp_path / "again")
    assert not is_coded(tmp_path / "again")


def test_enough_bytes_give_the_plain_file(network, tmp_path):
    model = network()
    npas.save(model, tmp_path / "a", bytes=10_000_000)
    npas.save(model, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_too_few_bytes_are_refused_with_the_least_and_that_fits(network, tmp_path):
    model = network("block_mix", {"fraction": 0.3})
    with pytest.raises(CheckpointError, match=r"takes ([\d,]+) bytes or more") as refused:
        npas.save(model, tmp_path / "model", bytes=1500)
    least = int(str(refused.value).split("takes ")[1].split(" ")[0].replace(",", ""))
    npas.save(model, tmp_path / "model", bytes=least + 20)
    assert (tmp_path / "model").stat().st_size <= least + 20


def test_page_decodes_every_type_that_a_file_may_hold(tmp_path):
    page = DECODER.read_text(encoding="utf-8")
    scope = {}
    exec(page.split("```python")[1].split("```")[0], scope)
    assert set(scope["TYPES"]) == set(_KINDS)
    kept = {str(kind): torch.tensor([1, 0, 1]).to(kind) for kind in _KINDS.values()}
    module = nn.Linear(32, 40)
    for name, tensor in kept.items():
        module.register_buffer(name.replace(".", "_"), tensor)
    plan = npas.plan(module, budget={"bytes": 3500}, example=torch.zeros(2, 32))
    npas.save(npas.share(module, plan, fit=True), tmp_path / "model")
    assert is_coded(tmp_path / "model")
    tensors, _ = scope["read"](tmp_path / "model")
    for name, tensor in kept.items():
        (found,) = (each for key, each in tensors.items() if key.endswith(name.replace(".", "_")))
        assert found.tolist() == tensor.float().tolist()


class Tables(nn.Module):
    """Has a layer, and buffers that are to be what they are."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 40)
        self.register_buffer("places", torch.arange(64.0).view(8, 8) / 63)
        self.register_buffer("mask", torch.full((8, 8), -math.inf).triu(1))
        self.register_buffer("ends", torch.tensor([-math.inf, 1 / 3, math.inf]))

    def forward(self, x):
        return self.layer(x)


def test_buffers_of_several_dimensions_or_with_infinities_are_kept_exactly(tmp_path):
    plan = npas.plan(Tables(), budget={"bytes": 3500}, example=torch.zeros(2, 32))
    shared = npas.share(Tables(), plan, fit=True).eval()
    npas.save(shared, tmp_path / "model")
    assert is_coded(tmp_path / "model")
    loaded = npas.load(tmp_path / "model", into=Tables())
    for name, buffer in shared.network("main").named_buffers():
        assert torch.equal(loaded.network("main").get_buffer(name), buffer), name
    npas.save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_page_decodes_a_file_with_numpy_and_brotli_alone(saved, tmp_path):
    """To the same weights, those of a layer that mixes templates too."""
    _, path = saved
    page = DECODER.read_text(encoding="utf-8")
    decoder = page.split("```python")[1].split("```")[0]
    (tmp_path / "decoder.py").write_text(decoder)
    script = textwrap.dedent(
        """
        import sys

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "npas", "safetensors"):
                    raise ImportError(name)

        sys.meta_path.insert(0, Blocked())
        import numpy as np
        from decoder import mixed, read

        tensors, plan = read(sys.argv[1])
        for group in plan["groups"]:
            for layer, weight in mixed(group, tensors).items():
                tensors["layer " + layer] = weight
        np.savez(sys.argv[2], **tensors)
        """
    )
    run = [sys.executable, "-c", script, str(path), str(tmp_path / "out.npz")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    subprocess.run(run, check=True, env=environment, cwd=tmp_path)
    found = np.load(tmp_path / "out.npz")
    loaded = npas.load(path)
    for name, tensor in loaded.state_dict().items():
        assert np.array_equal(found[name], tensor.numpy()), name
    plain = loaded.materialise()["main"].state_dict()
    mixes = [name for name in found.files if name.startswith("layer ")]
    assert mixes
    for name in mixes:
        wanted = plain[name.removeprefix("layer ")].numpy()
        assert np.allclose(found[name], wanted, rtol=1e-5, atol=1e-7), name


@FEW
@given(st.data())
def test_a_changed_byte_is_noticed(saved, tmp_path_factory, data):
    content = bytearray(saved[1].read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("changed") / "model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        npas.load(path)


def test_a_cut_file_is_refused(saved, tmp_path):
    content = saved[1].read_bytes()
    for length in (0, 9, 200, len(content) // 2, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            npas.load(tmp_path / "cut")


@pytest.mark.parametrize("size", [2 << 20, 65 << 20])
@pytest.mark.parametrize("stream", ["about", "codes", "values", "kept"])
def test_a_stream_that_expands_beyond_what_its_bytes_hold_is_refused(
    saved, tmp_path, stream, size
):
    """Before it is expanded: beyond that, nothing of it is."""
    bomb = brotli.compress(b" " * size, quality=5)
    assert len(bomb) < 400
    streams = {**load_file(saved[1]), stream: np.frombuffer(bomb, np.uint8)}
    save_file(streams, tmp_path / "bomb", METADATA)
    told = "more than the 1,[01]" if stream == "about" else "damaged"
    with pytest.raises(CheckpointError, match=told):
        npas.load(tmp_path / "bomb")


def test_a_table_under_a_right_digest_expands_to_what_its_file_may_hold(saved, tmp_path):
    """A table and a stream that agree with each other, and with no file of their size."""
    coded = CodedFile.read(saved[1])
    table = coded.table.to_json()
    table["codes"].append(["w", [64 << 20], 1.0])
    whole = sum(math.prod(shape) for _, shape, _ in table["codes"])
    zeros = brotli.compress(bytes(table["code_planes"] * whole), quality=5)
    forged = Content(table=Table.of_json(table), streams={**coded.streams, "codes": zeros})
    with pytest.raises(CheckpointError, match="may hold"):
        forged.write(coded.note, tmp_path / "bomb")
    parts = forged.parts(coded.note)
    save_file({n: np.frombuffer(p, np.uint8) for n, p in parts.items()}, tmp_path / "b", METADATA)
    with pytest.raises(CheckpointError, match="may hold"):
        npas.load(tmp_path / "b")


def test_what_no_reader_would_expand_is_not_written(network, tmp_path):
    model, path = network(), tmp_path / "model"
    with pytest.raises(CheckpointError, match="keep less in extra"):
        npas.save(model, path, bytes=40_000, extra={"note": "x" * (2 << 20)})
    npas.save(model, path, bytes=40_000, extra={"note": "x" * (1 << 19)})
    assert len(npas.load(path).extra["note"]) == 1 << 19
    model = network("dense", architecture="wrn-10-4")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(CheckpointError, match="nearly all zeros"):
        npas.save(model, path, bytes=40_000)
    npas.save(model, path, bytes=10_000_000)
    assert not any(p.any() for p in npas.load(path).parameters())


def test_what_a_file_tells_of_its_network_is_at_most_so_long(saved, tmp_path):
    bits = np.random.default_rng(0).integers(48, 50, 17 << 20, dtype=np.uint8)
    about = np.frombuffer(brotli.compress(bits.tobytes(), quality=2), np.uint8)
    save_file({**load_file(saved[1]), "about": about}, tmp_path / "long", METADATA)
    with pytest.raises(CheckpointError, match="more than the 16,777,216 bytes"):
        npas.load(tmp_path / "long")


@pytest.mark.parametrize("told", [b"[]", b"5", b"null"])
def test_what_a_file_tells_of_its_network_is_a_table(saved, tmp_path, told):
    about = np.frombuffer(brotli.compress(told), np.uint8)
    save_file({**load_file(saved[1]), "about": about}, tmp_path / "odd", METADATA)
    with pytest.raises(CheckpointError, match="is no table"):
        npas.load(tmp_path / "odd")


def _larger(note, table):
    table["codes"][0][1] = [1 << 20, 1 << 10]
    return note, table


def _longer(note, table):
    table["codes"][0][1][0] += 1
    return note, table


def _named_otherwise(note, table):
    table["codes"][0][0] = "groups.g9.templates.0"
    return note, table


def _other_plan(note, table):
    return {**note, "plan": json.loads(npas.plan("resnet-14", method="dense").to_json())}, table


@pytest.mark.parametrize("change", [_larger, _longer, _named_otherwise, _other_plan])
def test_a_table_that_lies_is_refused(saved, tmp_path, change):
    with pytest.raises(CheckpointError):
        npas.load(rewritten(saved[1], tmp_path / "model", change))


def test_numbers_that_are_none_are_not_written(network, tmp_path):
    for place in ("weight", "running_mean"):
        model = network()
        with torch.no_grad():
            name = next(n for n in model.state_dict() if n.endswith(place))
            model.state_dict()[name].view(-1)[0] = float("nan")
        with pytest.raises(CheckpointError, match="finite"):
            npas.save(model, tmp_path / "model", bytes=30_000)


@pytest.mark.parametrize("given", ["9000", 9000.5, True, {"device": "esp32"}])
def test_bytes_that_are_no_whole_number_are_refused(network, tmp_path, given):
    with pytest.raises(CheckpointError, match="give a whole number, such as 96000"):
        npas.save(network(), tmp_path / "model.safetensors", bytes=given)
