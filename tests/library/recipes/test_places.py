"""Fixed random places and signs: the same as ever, drawn when they are needed, once, and small."""

import copy
import functools
import hashlib
import tracemalloc

import npas
import numpy as np
import pytest
import torch
from npas.recipes import _chance, _ring
from npas.recipes._places import Places

SMALL = {"budget": {"fraction": 0.05}, "architecture": "wrn-16-2"}


def codes_of(model):
    """Return the drawn codes of every group of a model; None where there are none yet."""
    composers = (group._composer for group in model.groups.values())
    shuffles = (getattr(c, "_shuffle", None) or getattr(c, "_places", None) for c in composers)
    return [places._codes for places in shuffles if places]


def shared(method):
    plan = npas.plan(**SMALL, method=method)
    return npas.share(npas.build("wrn-16-2", seed=1), plan, seed=1)


def test_hashes_are_those_that_files_were_written_with():
    assert _chance.hashes(3, 7).tolist() == [
        15337404600680133411,
        13615431973392968899,
        15521589138007341757,
    ]
    whole = _chance.hashes(5000, 9)
    assert np.array_equal(_chance.hashes(1234, 9, first=3000), whole[3000:4234])


SHUFFLES = {
    "rows": (
        functools.partial(_chance.shuffled_rows, [(0, 37)], 211, 3),
        "fa01c0008f22f307733d2aa00164776e9048372d3fc29d5ab3f24643c9c1f8be",
    ),
    "ring": (
        functools.partial(_chance.shuffled_ring, 7807, 211, 3),
        "c1d79516adfbfa01aae921a7d66fdf60e0ba0b3b90e6b72e93d75e9a50291d7b",
    ),
}
"""Each with the SHA-256 of its codes as they were when the first files were written."""


@pytest.mark.parametrize("draw", SHUFFLES)
def test_shuffles_are_the_same_as_ever_however_many_are_drawn_together(draw, monkeypatch):
    drawn, before = SHUFFLES[draw]
    whole = drawn()
    assert hashlib.sha256(whole.tobytes()).hexdigest() == before
    monkeypatch.setattr(_chance, "AT_A_TIME", 500)
    assert np.array_equal(drawn(), whole)
    assert whole.dtype == np.int32
    places = np.where(whole < 0, ~whole, whole)
    assert set(places.tolist()) == set(range(7807 if draw == "rows" else 211))
    assert 0.45 < (whole < 0).mean() < 0.55


@pytest.mark.parametrize("method", ["block_mix", "random"])
def test_places_are_drawn_at_the_first_use_and_once(method, tmp_path):
    model = shared(method)
    assert codes_of(model)
    assert all(codes is None for codes in codes_of(model)), "share drew places"
    npas.save(model, tmp_path / "model")
    loaded = npas.load(tmp_path / "model")
    assert all(codes is None for codes in codes_of(loaded)), "load drew places"
    x = torch.zeros(1, 3, 32, 32)
    loaded(x)
    first = codes_of(loaded)
    assert all(codes.dtype == torch.int32 for codes in first)
    loaded.eval()(x)
    assert all(a is b for a, b in zip(first, codes_of(loaded), strict=True)), "drawn twice"
    assert all(a is b for a, b in zip(first, codes_of(copy.deepcopy(loaded)), strict=True))


@pytest.mark.parametrize("method", ["block_mix", "random"])
def test_places_take_four_bytes_for_each_scalar_that_is_read(method):
    model = shared(method)
    model(torch.zeros(1, 3, 32, 32))
    kept = sum(codes.numel() * codes.element_size() for codes in codes_of(model))
    read = sum(
        group.banks[0].size * group.banks[0].rows if group.banks[0].rows else group.num_dense
        for group in model.plan.groups
    )
    assert kept == 4 * read


def test_drawing_needs_little_beside_what_is_kept():
    tracemalloc.start()
    codes = _chance.shuffled_rows([(0, 40)], 200_000, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < codes.nbytes + 64 * 2**20


def test_read_put_and_add_agree_with_a_count_by_hand():
    rows, size = 5, 70_001  # more than one part
    places = Places(functools.partial(_chance.shuffled_rows, [(0, rows)], size, 1))
    codes = _chance.shuffled_rows([(0, rows)], size, 1)[size:]
    at, signs = np.where(codes < 0, ~codes, codes), np.where(codes < 0, -1.0, 1.0)
    source, values = torch.randn(rows * size), torch.randn((rows - 1) * size)
    found = places.read(source, torch.empty(len(values)), first=size)
    assert np.array_equal(found.numpy(), source.numpy()[at] * signs.astype(np.float32))
    put, added = torch.zeros(rows * size), torch.zeros(rows * size)
    places.put(values, put, first=size)
    places.add(values, added, first=size)
    wanted = np.zeros(rows * size, dtype=np.float32)
    wanted[at] = values.numpy() * signs
    assert np.array_equal(put.numpy(), wanted)
    assert torch.equal(put, added)


@pytest.mark.parametrize("size", [1, 300, 5000])
def test_some_of_a_ring_are_those_that_all_of_it_has(size, monkeypatch):
    monkeypatch.setattr(_ring, "AT_A_TIME", 700)
    whole = _chance.shuffled_ring(5000, size, 4)
    runs = [(0, 3), (700, 900), (4999, 1)]
    wanted = np.concatenate([whole[first : first + count] for first, count in runs])
    assert np.array_equal(_ring.ring_of_some(runs, 5000, size, 4), wanted)
