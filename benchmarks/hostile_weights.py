"""Files of weights that people and attackers send, most of them broken.

Each is made of a seed. What must become of it is part of it: "fits" where a job starts from it,
"unfit" where it is found in order and a job is refused, "invalid" where it is not found in order,
"either" where chance decides.
"""

import functools
import gzip
import hashlib
import importlib
import io
import json
import pickle
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import npas
import numpy as np
import torch
from npas.arch import resolve
from npas.delivery.coded.streams import packed, unpacked
from npas.spec import ArchitectureSpec

from benchmarks.hostile_files import Touch
from benchmarks.hostile_graphs import anything

Fate = Literal["fits", "unfit", "invalid", "either"]
Random = random.Random
Header = dict[str, Any]
_Maker = Callable[[Random], bytes]

ARCHITECTURE = {"name": "resnet-8", "options": {"scale": 0.25}}
"""Of the network whose weights they are, as a job on the digits has it."""

_OTHER_DTYPES = ("F8_E4M3", "C64", "F4", "I128", "float32", "", None, 5, ["F32"], "F32\0")


@functools.cache
def _spec() -> ArchitectureSpec:
    return resolve(ArchitectureSpec.model_validate(ARCHITECTURE), sizes=(10, 1, 8))


@functools.cache
def _state() -> dict[str, np.ndarray]:
    """Return the weights of a network in order."""
    state = npas.build(_spec(), seed=0).state_dict()
    return {name: tensor.numpy() for name, tensor in state.items()}


def _sound() -> tuple[Header, bytes]:
    """Return the header and the numbers of a file in order."""
    return _laid_out(_state())


_DTYPES = {"f4": "F32", "i8": "I64", "f2": "F16", "f8": "F64", "i4": "I32", "u1": "U8"}


def _laid_out(tensors: Mapping[str, np.ndarray]) -> tuple[Header, bytes]:
    header, data = Header(), b""
    for name, array in tensors.items():
        content = array.tobytes()
        places = [len(data), len(data) + len(content)]
        dtype = _DTYPES[array.dtype.str[1:]]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": places}
        data += content
    return header, data


def _file(header: Any, data: bytes, length: int | None = None) -> bytes:
    """Return a file; its header is JSON, or bytes as they are, its length what is said."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _of(tensors: Mapping[str, np.ndarray]) -> bytes:
    return _file(*_laid_out(tensors))


def _changed(change: Callable[[Random, Header], None]) -> _Maker:
    """Return what makes a file in order but for its header."""

    def make(rng: Random) -> bytes:
        header, data = _sound()
        change(rng, header)
        return _file(header, data)

    return make


def _entry(rng: Random, header: Header) -> Header:
    found: Header = header[rng.choice(list(header))]
    return found


def _places(rng: Random, header: Header) -> None:
    """Have a tensor lie where another one does, or where none can."""
    entry = _entry(rng, header)
    start, end = entry["data_offsets"]
    wrong: tuple[Any, ...] = (
        *([end, start], [start + 8, end + 8], [-8, end - start - 8], [start, 2**60], [2**63, 1]),
        *([float(start), float(end)], [start], [start, end, end], None, "0", {"0": 1}, [None, 1]),
        *([start + 10**9, end + 10**9], [str(start), str(end)], [True, end], [10**400, 10**400]),
    )
    entry["data_offsets"] = rng.choice(wrong)


def _same_place(rng: Random, header: Header) -> None:
    """Have two tensors lie in one place."""
    first, second = rng.sample([name for name in header if header[name]["shape"]], 2)
    header[first] = dict(header[second])


def _gap(rng: Random, header: Header) -> None:
    del header[rng.choice([name for name in header if len(header[name]["shape"]) > 1])]


def _shape(rng: Random, header: Header) -> None:
    """Give a shape that is none, or not of so many numbers."""
    entry = _entry(rng, header)
    wrong = ([-1, -1], [2**62, 4], [2**32] * 8, [1] * 99, [1.5], "4", None, [[4]], [True], [0])
    entry["shape"] = rng.choice((*wrong, [*entry["shape"], 2], [10**400]))


def _dtype(rng: Random, header: Header) -> None:
    _entry(rng, header)["dtype"] = rng.choice(_OTHER_DTYPES)


def _fields(rng: Random, header: Header) -> None:
    """Leave a field out, add one, or give something else for a tensor."""
    name = rng.choice(list(header))
    which = rng.randrange(4)
    if which == 0:
        del header[name][rng.choice(list(header[name]))]
    elif which == 1:
        header[name]["stride"] = [1]
    else:
        header[name] = rng.choice([None, [], "F32", 5, {}, [header[name]]])


def _names(rng: Random, header: Header) -> None:
    """Name a tensor what cannot be stored, or not be printed."""
    names = ("", "\0", "a\0b", "\ud800", "x" * 301, "x" * 10**6, "\u202e", "a\nb", "\x1b[2J")
    header[rng.choice(names)] = header.pop(rng.choice(list(header)))


def _metadata(rng: Random, header: Header) -> None:
    values: list[Any] = [1, None, {}, ["x"], 1e400, True]
    wrong = [*({"a": value} for value in values), [], "text", 5, True]
    header["__metadata__"] = rng.choice(wrong)


def _no_header(rng: Random) -> bytes:
    """Return a file whose header is no JSON, or no table."""
    texts = (
        *(b"{", b"[]", b"5", b'"x"', b"null", b"{}{}", b"{'a': 1}", b"\xff\xfe{}", b"\0" * 64),
        *(b'{"a":' * 9000, b"[" * 10**5, b'{"a": ' + b"9" * 10**5 + b"}", b'{"a": NaN}'),
    )
    return _file(rng.choice(texts), _sound()[1])


def _lying_length(rng: Random) -> bytes:
    """Return a file that tells of a header of another length."""
    header, data = _sound()
    length = len(json.dumps(header))
    lies = (0, 1, length - 1, length + 1, 10**6, 2**23 + 1, 2**31, 2**40, 2**63, 2**64 - 1)
    return _file(header, data, rng.choice(lies))


def _twice(rng: Random) -> bytes:
    """Return a file that names a tensor twice, or a field of one."""
    header, data = _sound()
    text = json.dumps(header)
    name = rng.choice(list(header))
    entry = json.dumps(header[name])
    if rng.random() < 0.5:
        return _file((text[:-1] + f", {json.dumps(name)}: {entry}}}").encode(), data)
    return _file(text.replace('"dtype"', '"dtype": "F32", "dtype"', 1).encode(), data)


def _short(rng: Random) -> bytes:
    """Return the beginning of a file."""
    content = _file(*_sound())
    return content[: rng.choice((1, 7, 8, 9, rng.randrange(10, len(content)), len(content) - 1))]


def _longer(rng: Random) -> bytes:
    return _file(*_sound()) + rng.choice((b"\0", b"\0" * 8, rng.randbytes(999), b"PK\x05\x06"))


def _no_numbers(rng: Random) -> bytes:
    """Return a file of weights that a training which diverged has left."""
    state = {name: array.copy() for name, array in _state().items()}
    name = rng.choice([each for each, array in state.items() if array.dtype == np.float32])
    state[name].flat[rng.randrange(state[name].size)] = rng.choice((np.nan, np.inf, -np.inf))
    if rng.random() < 0.3:
        state[name] = state[name].astype(np.float16)
    return _of(state)


def _no_tensors(rng: Random) -> bytes:
    header: Header = {"__metadata__": {"format": "pt"}} if rng.random() < 0.5 else {}
    return _file(header, rng.choice((b"", b"\0" * 8)))


def _too_many(rng: Random) -> bytes:
    number = rng.choice((8193, 20_000))
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return _file({f"t{each}": entry for each in range(number)}, b"")


def _another_file(rng: Random) -> bytes:
    """Return what is no file of weights at all."""
    arrays = io.BytesIO()
    np.savez(arrays, a=np.zeros(3))
    unpacked = gzip.compress(bytes(10**7), mtime=0)
    files = (arrays.getvalue(), unpacked, b"<html></html>", b"\x89HDF\r\n\x1a\n", b"GGUF\3\0\0\0")
    return rng.choice(files) + rng.randbytes(64)


def _program(rng: Random) -> bytes:
    """Return a pickle that would end whoever opens it, in one of the forms that torch has."""
    if rng.random() < 0.5:
        return pickle.dumps(Touch(), protocol=rng.choice((0, 1, 2, 3, 4, 5))) + bytes(64)
    file = io.BytesIO()
    is_zip = rng.random() < 0.5
    torch.save({"w": Touch()}, file, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


def _other_network(rng: Random) -> bytes:
    """Return the weights of another network."""
    state = dict(_state())
    name = rng.choice([each for each in state if not each.endswith("num_batches_tracked")])
    which = rng.randrange(5)
    if which == 0:
        del state[name]
    elif which == 1:
        state[rng.choice((f"{name}.x", "../../etc/passwd", "__class__"))] = state.pop(name)
    elif which == 2:
        state["more.weight"] = np.zeros((3, 3), np.float32)
    elif which == 3:
        state[name] = np.zeros((*state[name].shape, 1), np.float32)
    else:
        state = {f"other.{each}": array for each, array in state.items()}
    return _of(state)


def _odd_numbers(rng: Random) -> bytes:
    """Return weights of zeros, of large numbers, or of other types."""
    state = dict(_state())
    name = rng.choice(list(state))
    wrong = (np.zeros_like(state[name]), np.full_like(state[name], 2**60), state[name] * 0 + 1)
    kinds = (np.float16, np.float64, np.int32, np.int64, np.uint8)
    with np.errstate(all="ignore"):
        state[name] = rng.choice(wrong).astype(rng.choice((state[name].dtype, *kinds)))
    if not np.isfinite(state[name]).all():
        state[name] = np.zeros_like(state[name])
    return _of(state)


def _empty_tensors(rng: Random) -> bytes:
    """Return a file in order, and tensors in it that hold nothing."""
    header, data = _sound()
    end = len(data)
    for number in range(rng.choice((1, 3))):
        shape = rng.choice(([0], [0, 2**52], [2**52, 2**52, 0], [3, 0, 5]))
        header[f"none{number}"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end]}
    return _file(header, data)


def _prefixed(rng: Random) -> bytes:
    prefix = rng.choice(("module.", "_orig_mod.", "module._orig_mod."))
    return _of({prefix + name: array for name, array in _state().items()})


@functools.cache
def _model(num_bytes: int | None = None) -> bytes:
    """Return a model file as npas writes it; of so many bytes, coded."""
    plan = npas.plan(_spec(), budget={"fraction": 0.75})
    net = npas.share(npas.build(_spec(), seed=0), plan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        npas.save(net, path, bytes=num_bytes)
        return path.read_bytes()


def _opened(content: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _other_plan(rng: Random) -> bytes:
    """Return a model file whose plan was changed, and its digest with it."""
    header, data = _opened(_model())
    note = json.loads(header["__metadata__"]["npas"])
    digests = note.pop("digests")
    anything(note if rng.random() < 0.2 else note["plan"], rng)
    text = json.dumps(note, sort_keys=True)
    digests["metadata"] = hashlib.sha256(text.encode()).hexdigest()
    header["__metadata__"]["npas"] = json.dumps({**note, "digests": digests}, sort_keys=True)
    return _file(header, data)


def _other_note(rng: Random) -> bytes:
    """Return a file that says that it is a model file, and is none."""
    header, data = _sound()
    notes = (
        *("", "{", "[]", "5", "null", "{}", '{"format": "npas-9"}', '{"format": "npas-2"}'),
        *('{"format": "npas-1", "plan": {}, "extra": {}}', "[" * 10**5, '{"format": []}'),
        *('{"format": "npas-coded-1"}', '{"format": "npas-2", "digests": 5}', '{"a":' * 9000),
    )
    header["__metadata__"] = {"npas": rng.choice(notes)}
    return _file(header, data)


def _other_code(rng: Random) -> bytes:
    """Return a coded file whose first stream is another, with its digest; or a large one."""
    size = 7000
    header, data = _opened(_model(size))
    streams = {
        name: data[slice(*entry["data_offsets"])]
        for name, entry in header.items()
        if name != "__metadata__"
    }
    about = rng.choice((_changed_about, _huge_about, _no_about))(rng, streams)
    arrays = {n: np.frombuffer(s, np.uint8) for n, s in (streams | {"about": about}).items()}
    made, content = _laid_out(arrays)
    return _file(made | {"__metadata__": header["__metadata__"]}, content)


def _changed_about(rng: Random, streams: Mapping[str, bytes]) -> bytes:
    note = json.loads(unpacked(streams["about"], most=10**7))
    del note["digest"]
    anything(rng.choice((note, note["plan"], note["tensors"])), rng)
    found = hashlib.sha256(_dense(note))
    for name in sorted(streams.keys() - {"about"}):
        found.update(streams[name])
    return packed(_dense({**note, "digest": found.hexdigest()[:32]}))


def _dense(note: Any) -> bytes:
    return json.dumps(note, sort_keys=True, separators=(",", ":")).encode()


def _huge_about(rng: Random, streams: Mapping[str, bytes]) -> bytes:
    """Return little that unpacks to much, which takes even more when it is read."""
    del streams
    unit, size = rng.choice((b" ", b"[],", b"[", b'{"a":')), rng.choice((2**22, 2**24 - 9, 2**26))
    content = b"[" + unit * (size // len(unit)) + b"[]]"
    found: bytes = importlib.import_module("brotli").compress(content, quality=5)
    return found


def _no_about(rng: Random, streams: Mapping[str, bytes]) -> bytes:
    del streams
    return rng.choice((b"", b"\0", rng.randbytes(99), packed(b"5"), packed(b"[]"), packed(b"{}")))


KINDS: Mapping[str, tuple[Fate, _Maker]] = {
    "in order": ("fits", lambda _: _file(*_sound())),
    "names with a prefix": ("fits", _prefixed),
    "model of npas": ("fits", lambda _: _model()),
    "another network": ("unfit", _other_network),
    "odd numbers": ("either", _odd_numbers),
    "tensors of nothing": ("unfit", _empty_tensors),
    "model with another plan": ("either", _other_plan),
    "model without a plan": ("unfit", _other_note),
    "coded, with another table": ("either", _other_code),
    "places": ("invalid", _changed(_places)),
    "two in one place": ("invalid", _changed(_same_place)),
    "gaps": ("invalid", _changed(_gap)),
    "shapes": ("invalid", _changed(_shape)),
    "types": ("invalid", _changed(_dtype)),
    "fields": ("invalid", _changed(_fields)),
    "names": ("invalid", _changed(_names)),
    "metadata": ("invalid", _changed(_metadata)),
    "header no JSON": ("invalid", _no_header),
    "header of another length": ("invalid", _lying_length),
    "names twice": ("invalid", _twice),
    "cut off": ("invalid", _short),
    "more behind": ("invalid", _longer),
    "NaN, infinite": ("invalid", _no_numbers),
    "no tensors": ("invalid", _no_tensors),
    "too many tensors": ("invalid", _too_many),
    "another file": ("invalid", _another_file),
    "pickles": ("invalid", _program),
}
"""By what is wrong: what must become of it, and how one is made."""


def made(kind: str, seed: int) -> bytes:
    """Return the file of a kind and a seed: the same for the same seed."""
    return KINDS[kind][1](Random(f"{kind} {seed}"))
