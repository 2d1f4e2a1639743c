"""Files of trained weights: whose network they are, and what is no such file."""

import json

import npas
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from npas import arch
from npas.errors import StartError
from npas.sharing.weights_file import WRAPPERS, check_weights
from npas.sharing.weights_header import BYTES_OF, MAX_HEADER_BYTES, MAX_TENSORS, read_header
from npas.spec import ArchitectureSpec, NetworkSpec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

MANY = settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def networks(*names, **sizes):
    specs = [arch.resolve(ArchitectureSpec(name=name, **sizes)) for name in names]
    words = ["main"] if len(specs) == 1 else ["one", "two"]
    return [NetworkSpec(name=w, architecture=s) for w, s in zip(words, specs, strict=True)]


def state(name="resnet-8"):
    return npas.build(name, seed=0).state_dict()


def shapes_of(tensors, prefix=""):
    return {prefix + name: tuple(tensor.shape) for name, tensor in tensors.items()}


def written(path, header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_header_is_what_safetensors_wrote(tmp_path):
    path, tensors = tmp_path / "a.safetensors", state()
    save_file(tensors, path, {"format": "pt"})
    header = read_header(path)
    assert header.shapes == shapes_of(tensors)
    assert header.metadata == {"format": "pt"}
    content = path.read_bytes()
    for name, entry in header.tensors.items():
        held = content[entry.start : entry.start + entry.num_bytes]
        assert held == tensors[name].numpy().tobytes()


@pytest.mark.parametrize("prefix", ["", *WRAPPERS, "module._orig_mod.", "_orig_mod.module.model."])
def test_every_tensor_of_the_network_is_found_under_its_own_name(prefix):
    tensors = state()
    found = check_weights(shapes_of(tensors, prefix), networks("resnet-8"))
    assert found == {("main", name): prefix + name for name in tensors}


def test_several_networks_have_their_names_before_those_of_their_tensors():
    parts = {"one": state("resnet-8"), "two": state("wrn-10-1")}
    given = {k: v for word, part in parts.items() for k, v in shapes_of(part, f"{word}.").items()}
    found = check_weights(given, networks("resnet-8", "wrn-10-1"))
    assert found == {(word, name): f"{word}.{name}" for word in parts for name in parts[word]}


def test_first_tensor_that_is_missing_too_many_or_of_another_shape_is_named():
    tensors = shapes_of(state())
    for changed, words in (
        (
            {k: v for k, v in tensors.items() if k != "norm.weight"},
            "the file has no 'norm.weight'",
        ),
        ({**tensors, "head.weight": (2, 2)}, "the network has no 'head.weight'"),
        ({**tensors, "fc.weight": (7, 64)}, r"'fc.weight' is \(7, 64\) in the file, \(10, 64\)"),
    ):
        with pytest.raises(StartError, match=words) as caught:
            check_weights(changed, networks("resnet-8"))
        assert caught.value.field == "/start/checkpoint"
    with pytest.raises(StartError, match=r"stages\.0\.1\.conv1\.weight"):
        check_weights(tensors, networks("resnet-14"))


def test_counters_of_norms_may_be_missing_as_in_old_files():
    tensors = shapes_of(state())
    old = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    assert sorted(check_weights(old, networks("resnet-8")).values()) == sorted(old)


def test_classifier_of_other_classes_is_left_out_where_that_is_asked_for():
    tensors = shapes_of(state())
    other = networks("resnet-8", num_classes=7)
    found = check_weights(tensors, other, new_classifier=True)
    assert tensors.keys() - set(found.values()) == {"fc.weight", "fc.bias"}
    with pytest.raises(StartError, match=r"fc\.weight"):
        check_weights(tensors, other)


HOSTILE = {
    "zip": (b"PK\x03\x04" + b"\0" * 60, "never opened here"),
    "pickle": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\0" * 60, "never opened here"),
    "empty": (b"", "header of 0 bytes"),
    "short": (b"\1\0\0", "header of 1 bytes"),
    "huge header": ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "are read"),
    "header beyond its end": ((99).to_bytes(8, "little") + b"{}", "the whole file 10"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_safetensors_file_is_refused_from_its_first_bytes(tmp_path, case):
    content, words = HOSTILE[case]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(StartError, match=words):
        read_header(path)


BAD_HEADERS = {
    "no json": (b"{oops", "no JSON"),
    "deep": (b"[" * 100_000, "no JSON"),
    "no table": (b"[]", "no table"),
    "twice": (b'{"a": 1, "a": 1}', "twice"),
    "nothing": ({}, "0 tensors"),
    "many": ({str(i): F32 for i in range(MAX_TENSORS + 1)}, "are read"),
    "metadata": ({"a": F32, "__metadata__": {"a": 1}}, "no table of texts"),
    "no dtype": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, "no dtype"),
    "wrong dtype": ({"a": {**F32, "dtype": "C64"}}, "'C64'; allowed are F64"),
    "dtype no word": ({"a": {**F32, "dtype": ["F32"]}}, "allowed are"),
    "negative": ({"a": {**F32, "shape": [-2]}}, "no list"),
    "true": ({"a": {**F32, "shape": [True, 2]}}, "no list"),
    "dimensions": ({"a": {**F32, "shape": [1] * 8 + [2]}}, "no list"),
    "wrong size": ({"a": {**F32, "shape": [3]}}, "takes 12 bytes"),
    "name": ({"a\n": F32}, "cannot be printed"),
    "overlap": ({"a": F32, "b": F32}, "'b' overlaps"),
    "gap": ({"a": {**F32, "data_offsets": [4, 12]}}, "leaves a gap"),
    "truncated": ({"a": {**F32, "shape": [4], "data_offsets": [0, 16]}}, "truncated"),
    "more": ({"a": {**F32, "shape": [1], "data_offsets": [0, 4]}}, "something else lies behind"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_header_that_is_not_what_it_must_be_is_refused(tmp_path, case):
    header, words = BAD_HEADERS[case]
    with pytest.raises(StartError, match=words):
        read_header(written(tmp_path / "a.safetensors", header))


TENSORS = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8),
    st.tuples(st.sampled_from(sorted(BYTES_OF)), st.lists(st.integers(0, 4), max_size=3)),
    min_size=1,
    max_size=6,
)


@given(TENSORS, st.integers(0, 10**6), st.integers(0, 255))
@MANY
def test_damaged_file_is_refused_or_read_as_safetensors_reads_it(tmp_path, tensors, place, byte):
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + torch.Size(shape).numel() * BYTES_OF[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    path = written(tmp_path / "a.safetensors", header, bytes(end))
    assert read_header(path).shapes == {k: tuple(shape) for k, (_, shape) in tensors.items()}
    damaged = bytearray(path.read_bytes())
    damaged[place % len(damaged)] = byte
    path.write_bytes(damaged)
    try:
        found = read_header(path)
    except StartError:
        return
    try:
        with safe_open(path, framework="pt") as file:
            assert sorted(found.tensors) == sorted(file.keys())
    except SafetensorError as error:
        raise AssertionError(f"safetensors refuses what was read: {error}") from error
