"""A file gives the network back bit for bit, and whatever is not such a file is refused."""

import json
import os

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import registry
from npas.delivery import checkpoint
from npas.errors import CheckpointError, NpasError
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec
from safetensors.torch import load_file, save_file

METHODS = registry.names("npas.methods")
FEW = settings(deadline=None, derandomize=True, max_examples=150)
CASES = [
    *[("resnet-14", method, fraction) for method in METHODS for fraction in (0.99, 1.0, 2.5)],
    ("wrn-16-1", "block_mix", 0.3),
    ("torchvision:squeezenet1_1", "block_mix", 0.6),
    ("torchvision:regnet_y_400mf", "soft_sharing", 0.8),
    ("torchvision:efficientnet_b0", "block_mix", 0.7),
]


def made(architecture, method="block_mix", fraction=0.5, seed=3):
    budget = BudgetSpec(fraction=1.0 if method == "dense" else fraction)
    plan = npas.plan(architecture, budget=budget, method=method)
    return npas.share(npas.build(plan.networks[0].architecture, seed=seed), plan, seed=seed)


def trained(model, size=32):
    """Move statistics and weights away from where every fresh network stands."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()(images(2, size)).square().mean().backward()
    optimizer.step()
    return model.eval()


def images(count, size=32, channels=3):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, channels, size, size, generator=generator)


def outputs(model, x):
    with torch.no_grad():
        return model(x)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small checkpoint, its bytes and its metadata."""
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    npas.save(trained(made("resnet-8", fraction=0.6)), path, extra={"note": ["x", 1, None]})
    return path


def rewritten(saved, path, change):
    """Write the checkpoint anew with changed metadata, and digests that fit it."""
    with checkpoint.safe_open(saved, framework="pt") as file:
        note = json.loads(file.metadata()["npas"])
    del note["digests"]
    checkpoint.write_unchecked(load_file(saved), change(note), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "method", "fraction"), CASES)
def test_load_gives_bit_equal_outputs(architecture, method, fraction, tmp_path, recount):
    size = 64 if architecture.startswith("torchvision:") else 32
    model = trained(made(architecture, method, fraction), size)
    npas.save(model, tmp_path / "model")
    wanted = outputs(model, images(2, size))
    loaded = npas.load(tmp_path / "model")
    plain = npas.load(tmp_path / "model", materialise=True)
    assert torch.equal(outputs(loaded, images(2, size)), wanted)
    assert torch.equal(outputs(plain, images(2, size)), wanted)
    assert torch.equal(outputs(model.materialise()["main"], images(2, size)), wanted)
    assert recount(loaded) == model.plan.ledger.total
    assert recount(plain) == model.plan.ledger.dense
    assert loaded.plan == model.plan
    assert not loaded.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ["block_mix", "soft_sharing"])
def test_load_keeps_the_precision(method, dtype, tmp_path):
    model = trained(made("resnet-14", method, 0.9)).to(dtype)
    npas.save(model, tmp_path / "model")
    x = images(2).to(dtype)
    for materialise in (False, True):
        loaded = npas.load(tmp_path / "model", materialise=materialise)
        assert outputs(loaded, x).dtype == dtype
        assert torch.equal(outputs(loaded, x), outputs(model, x))


def test_load_gives_weights_of_their_own(saved, recount):
    before = saved.read_bytes()
    model = npas.load(saved)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert saved.read_bytes() == before
    assert recount(model) == model.plan.ledger.total


def test_load_gives_several_networks_back(tmp_path, recount):
    networks = [
        NetworkSpec(name=name, architecture=ArchitectureSpec(name=name))
        for name in ("resnet-14", "wrn-10-1")
    ]
    plan = npas.plan(networks, budget=BudgetSpec(fraction=0.4))
    model = trained_members(npas.share({n.name: npas.build(n.name) for n in networks}, plan))
    npas.save(model, tmp_path / "model")
    wanted = outputs(model, images(2))
    loaded, plain = npas.load(tmp_path / "model"), npas.load(tmp_path / "model", materialise=True)
    assert list(wanted) == list(outputs(loaded, images(2))) == ["resnet-14", "wrn-10-1"]
    for name, logits in wanted.items():
        assert torch.equal(outputs(loaded, images(2))[name], logits)
        assert torch.equal(outputs(plain[name], images(2)), logits)
    assert recount(loaded) == plan.ledger.total <= plan.ledger.budget


def trained_members(model):
    sum(z.square().mean() for z in model(images(2)).values()).backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    return model.eval()


@pytest.mark.parametrize("fraction", [0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("method", METHODS)
def test_save_holds_the_scalars_of_the_budget(method, fraction, tmp_path):
    if method != "block_mix":
        fraction = max(fraction, 1.0)
    model = made("wrn-16-2", method, fraction)
    npas.save(model, tmp_path / "model")
    size = (tmp_path / "model").stat().st_size
    scalars, buffers = model.plan.ledger.total, checkpoint.num_buffer_bytes(model)
    assert 4 * scalars + buffers <= size <= 4 * scalars + buffers + 64 * 1024
    held = load_file(tmp_path / "model")
    assert sum(t.numel() * t.element_size() for t in held.values()) == 4 * scalars + buffers


def test_save_twice_gives_the_same_bytes(saved, tmp_path):
    loaded = npas.load(saved)
    npas.save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_save_leaves_nothing_else_behind(saved, tmp_path):
    npas.save(npas.load(saved), tmp_path / "a")
    with pytest.raises(CheckpointError, match="extra"):
        npas.save(npas.load(saved), tmp_path / "a", extra={"bad": float("nan")})
    with pytest.raises(FileNotFoundError, match="missing"):
        npas.save(npas.load(saved), tmp_path / "missing" / "a")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("extra", [[1], "text", {"x": object()}, {1: 2, "a": 3}, {"x": 1e999}])
def test_save_refuses_extra_that_is_no_json_object(saved, tmp_path, extra):
    with pytest.raises(CheckpointError, match="extra"):
        npas.save(npas.load(saved), tmp_path / "a", extra=extra)
    assert os.listdir(tmp_path) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(FEW, max_examples=30)
@given(extra=st.dictionaries(st.text(), JSON, max_size=4))
def test_extra_comes_back(saved, extra):
    path = saved.with_name("extra")
    npas.save(npas.load(saved), path, extra=extra)
    assert npas.load(path).extra == extra


@FEW
@given(data=st.data())
def test_load_of_damaged_bytes_is_refused_or_harmless(saved, data):
    """What is not refused says the same in other words, such as a space more in the header."""
    whole = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    kind = data.draw(st.sampled_from(["flip", "cut", "grow", "blank"]))
    at = data.draw(st.integers(0, header) | st.integers(0, len(whole) - 1))
    if kind == "flip":
        whole[at] ^= data.draw(st.integers(1, 255))
    elif kind == "blank":
        whole[at : at + data.draw(st.integers(1, 64))] = b"\0"
    elif kind == "cut":
        del whole[at:]
    else:
        whole[at:at] = data.draw(st.binary(min_size=1, max_size=64))
    path = saved.with_name("damaged")
    path.write_bytes(whole)
    try:
        model = npas.load(path)
    except CheckpointError:
        return
    assert torch.equal(outputs(model, images(1)), outputs(npas.load(saved), images(1)))


@FEW
@given(content=st.binary(max_size=200))
def test_load_of_any_bytes_is_refused(saved, content):
    path = saved.with_name("noise")
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        npas.load(path)


def test_load_of_a_renamed_pickle_is_refused(saved, tmp_path):
    torch.save(npas.load(saved).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        npas.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"npas": ""},
        {"npas": "[]"},
        {"npas": "7"},
        {"npas": "{}"},
        {"npas": '{"format": "npas-2"}'},
        {"npas": '{"format": "npas-2", "plan": {}, "extra": {}}'},
        {"npas": '{"format": "npas-3"}'},
        {"npas": '{"format": "npas-1"}'},
        {"npas": '{"format": "npas-1", "plan": {}, "extra": {}}'},
        {"npas": "[" * 100_000},
        {"npas": '{"format": "npas-1", "plan": ' + '{"a":' * 100_000},
    ],
)
def test_load_of_a_foreign_file_is_refused(tmp_path, metadata):
    save_file({"weight": torch.zeros(3)}, tmp_path / "model", metadata=metadata)
    with pytest.raises(CheckpointError, match="model"):
        npas.load(tmp_path / "model")


def renamed(name):
    def change(note):
        note["plan"]["networks"][0]["architecture"]["name"] = name
        return note

    return change


def without_a_layer(note):
    del note["plan"]["groups"][0]["slots"][0]
    return note


def with_wrong_extra(note):
    return note | {"extra": 5}


def with_another_recipe(note):
    note["plan"]["groups"][0]["recipe"] = "brew"
    return note


def with_an_open_size(note):
    del note["plan"]["networks"][0]["architecture"]["input_size"]
    return note


def with_huge_bank(note):
    """Make the first bank 40 TB, and have the ledger agree."""
    plan, bank = note["plan"], note["plan"]["groups"][0]["banks"][0]
    ledger = plan["ledger"]
    old = bank["templates"] * bank["size"]
    bank["size"] = 10**13
    ledger["templates"] += bank["templates"] * bank["size"] - old
    ledger["total"] = ledger["templates"] + ledger["coefficients"] + ledger["private"]
    ledger["budget"], ledger["unused"] = ledger["total"], 0
    return note


@pytest.mark.parametrize(
    "change",
    [
        *map(renamed, ("wrn-994-64", "resnet-9", "resnet-14", "unknown", "torchvision:vgg11")),
        *(without_a_layer, with_wrong_extra, with_another_recipe),
        *(with_huge_bank, with_an_open_size),
    ],
)
def test_load_of_a_file_that_contradicts_itself_is_refused(saved, tmp_path, change):
    path = rewritten(saved, tmp_path / "model", change)
    with pytest.raises(CheckpointError, match="model"):
        npas.load(path)


def test_load_with_a_tensor_missing_or_left_over_is_refused(saved, tmp_path):
    tensors = load_file(saved)
    with checkpoint.safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    fewer = dict(list(tensors.items())[1:])
    other = {name: t.flatten()[:-1] if t.dim() else t for name, t in tensors.items()}
    ints = {name: t.int() for name, t in tensors.items()}
    note = json.loads(metadata["npas"])
    del note["digests"]
    for wrong in (fewer, other, ints, tensors | {"more": torch.zeros(1)}):
        checkpoint.write_unchecked(wrong, note, tmp_path / "model")
        with pytest.raises(
            CheckpointError, match=r"lacks tensors|scalars, the plan|not torch|is \(\d+,\), not"
        ):
            npas.load(tmp_path / "model")


def test_load_of_nothing_says_so(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="no checkpoint at"):
            npas.load(path)


def test_read_metadata_reads_no_weights(saved):
    plan, extra = checkpoint.read_metadata(saved)
    assert plan.networks[0].architecture.name == "resnet-8"
    assert extra == {"note": ["x", 1, None]}


def test_checkpoint_error_is_one_of_ours():
    assert issubclass(CheckpointError, NpasError)
    assert issubclass(CheckpointError, ValueError)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_load_does_not_depend_on_the_default_type(method, default, tmp_path):
    model = trained(made("resnet-8", method, 1.0))
    npas.save(model, tmp_path / "model")
    x = images(2)
    torch.set_default_dtype(default)
    try:
        found = outputs(npas.load(tmp_path / "model"), x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, outputs(model, x))
