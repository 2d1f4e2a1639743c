"""Files of trained weights that hold no plan: their table of tensors, and whose network it is.

A file is safetensors: eight bytes with the length of a header, little-endian, the header, JSON of
name -> dtype, shape and place of each tensor, then the numbers, without gaps
(https://huggingface.co/docs/safetensors). Here the header alone is read, and nothing in it is
believed before it is checked: files come from strangers.
"""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from npas import arch
from npas.errors import StartError
from npas.plans import LayerKey
from npas.sharing.sameness import FIELD
from npas.spec import NetworkSpec

MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_TENSORS = 8192
MAX_NAME_CHARACTERS = 300

BYTES_OF: Mapping[str, int] = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1},
}
"""Types that weights and statistics have, to bytes of one number; others are refused."""

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and trainers put before all names of a network."""

COUNTERS = "num_batches_tracked"
"""Batches that a norm has seen: old files leave it out, and no output depends on it."""

_PICKLES = {
    b"PK\x03\x04": "a zip archive, as torch.save writes",
    **dict.fromkeys((b"\x80\x02\x8a", b"\x80\x04\x95", b"\x80\x05\x95"), "a pickle"),
}
"""How other files begin; read as the length of a header, all are more than `MAX_HEADER_BYTES`."""

_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        dtype: one of `BYTES_OF`.
        shape: lengths, outermost first; () of a single number.
        start: of its bytes, counted from the beginning of the file.
        num_bytes: that it takes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsHeader:
    """What the header of a file says, checked against the file's size.

    Attributes:
        tensors: by name, in the order of the file.
        metadata: texts that lie beside them.
    """

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors by name, as `check_weights` takes them."""
        return {name: entry.shape for name, entry in self.tensors.items()}


def read_header(path: Path) -> WeightsHeader:
    """Read and check the header of a safetensors file; no tensor is read.

    Raises:
        StartError: it is no such file, or truncated; tensors overlap or leave gaps; a type, or
            how many there are, is not allowed. The message says which.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_LENGTH_BYTES)
        length = _length(head, size)
        told = _parsed(file.read(length))
    metadata = told.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _wrong("its __metadata__ is no table of texts")
    if not 0 < len(told) <= MAX_TENSORS:
        raise _wrong(f"it holds {len(told):,} tensors; 1 to {MAX_TENSORS:,} are read")
    start = _LENGTH_BYTES + length
    tensors = {name: _entry(name, each, start) for name, each in told.items()}
    _check_places(tensors, start, size)
    return WeightsHeader(tensors=tensors, metadata=metadata)


def check_weights(
    tensors: Mapping[str, Sequence[int]],
    networks: Sequence[NetworkSpec],
    *,
    new_classifier: bool = False,
) -> dict[LayerKey, str]:
    """Find the tensors of networks in a file, and check that all are there and none is too many.

    The file's names are those of the modules' state dicts, of several networks with the name of
    each before them ("small.conv1.weight"); all may have the prefixes of `WRAPPERS`. Of a weight
    with several names one is enough, and `COUNTERS` may be missing.

    Args:
        tensors: shapes by name, of the file.
        networks: with resolved architectures.
        new_classifier: whether tensors of classifiers may be of other shapes, or not there: those
            are left out of what is returned.

    Returns:
        name in the file by (network, name in its state dict), of all tensors that the file has.

    Raises:
        StartError: the message names the first tensor that is missing, of another shape, or too
            many.
    """
    wanted = _wanted(networks)
    own = {key: _joined(key, networks) for key in wanted}
    prefix = _prefix(list(tensors), set(own.values()))
    free = _classifiers(networks) if new_classifier else set[LayerKey]()
    found: dict[LayerKey, str] = {}
    aliases = defaultdict[int, list[LayerKey]](list)
    for key, tensor in wanted.items():
        aliases[id(tensor)].append(key)
    for key, tensor in wanted.items():
        same = (prefix + own[other] for other in aliases[id(tensor)])
        name = next((each for each in same if each in tensors), prefix + own[key])
        given, shape = tensors.get(name), tuple(tensor.shape)
        if given is not None and tuple(given) == shape:
            found[key] = name
        elif key not in free and (given is not None or not name.endswith(COUNTERS)):
            raise _differs(_difference(name, shape, given, prefix))
    known = {prefix + name for name in own.values()}
    if others := [name for name in tensors if name not in known]:
        more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
        raise _differs(f"the network has no {others[0]!r}{more}, which the file holds")
    return found


def _wanted(networks: Sequence[NetworkSpec]) -> dict[LayerKey, Tensor]:
    """Return the tensors of networks, on the meta device; tied ones are one object."""
    wanted: dict[LayerKey, Tensor] = {}
    for network in networks:
        built = arch.build_uninitialised(network.architecture, device="meta")
        state: Mapping[str, Tensor] = built.state_dict(keep_vars=True)
        wanted |= {(network.name, name): tensor for name, tensor in state.items()}
    return wanted


def _joined(key: LayerKey, networks: Sequence[NetworkSpec]) -> str:
    return key[1] if len(networks) == 1 else ".".join(key)


def _prefix(tensors: Iterable[str], names: Collection[str]) -> str:
    """Return what stands before all names of a file, and not before those of the networks."""
    prefix = ""
    while not any(name.removeprefix(prefix) in names for name in tensors):
        after = [name.removeprefix(prefix) for name in tensors]
        more = next((w for w in WRAPPERS if all(name.startswith(w) for name in after)), None)
        if more is None:
            return ""
        prefix += more
    return prefix


def _classifiers(networks: Sequence[NetworkSpec]) -> set[LayerKey]:
    """Return the weights of classifiers, and the biases beside them."""
    layers = [la for la in arch.layer_table(networks).layers if la.role == "classifier"]
    modules = {(layer.network, layer.name.rpartition(".")[0]) for layer in layers}
    return {
        (network, f"{path}.{which}" if path else which)
        for network, path in modules
        for which in ("weight", "bias")
    }


def _difference(
    name: str, shape: tuple[int, ...], given: Sequence[int] | None, prefix: str
) -> str:
    if given is None:
        under = f" (all its names begin with {prefix!r})" if prefix else ""
        return f"the file has no {name!r} of shape {shape}, which the network has{under}"
    return f"{name!r} is {tuple(given)} in the file, {shape} in the network"


def _differs(difference: str) -> StartError:
    return StartError(
        f"the file of weights is of another network: {difference}; give the architecture that it "
        "was trained as, or another file",
        field=FIELD,
    )


def _wrong(what: str) -> StartError:
    return StartError(
        f"not a safetensors file that can be used: {what}; write it again with "
        "safetensors.torch.save_file(module.state_dict(), path)",
        field=FIELD,
    )


def _length(head: bytes, size: int) -> int:
    """Return how many bytes the header takes."""
    for magic, kind in _PICKLES.items():
        if head.startswith(magic):
            raise _wrong(
                f"it is {kind}, which can hold programs and is never opened here; load it where "
                "you trust it, with torch.load(PATH, weights_only=True)"
            )
    length = int.from_bytes(head, "little")
    if len(head) < _LENGTH_BYTES or length > MAX_HEADER_BYTES:
        told = f"its first 8 bytes tell of a header of {length:,} bytes"
        raise _wrong(f"{told}; at most {MAX_HEADER_BYTES:,} are read")
    if _LENGTH_BYTES + length > size:
        raise _wrong(f"its header has {length:,} bytes, the whole file {size:,}")
    return length


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        told = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"its header is no JSON ({error})") from None
    if not isinstance(told, dict):
        raise _wrong("its header is no table of tensors")
    return told


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands there twice")
    return table


def _entry(name: str, told: Any, start: int) -> TensorEntry:
    shown = repr(name[:MAX_NAME_CHARACTERS])
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise _wrong(
            f"the name {shown} has more than {MAX_NAME_CHARACTERS} characters, or such as cannot "
            "be printed"
        )
    if not isinstance(told, dict) or told.keys() != {"dtype", "shape", "data_offsets"}:
        raise _wrong(f"tensor {shown} has no dtype, shape and data_offsets, or more than these")
    dtype, shape, places = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise _wrong(
            f"tensor {shown} is of type {str(dtype)[:20]!r}; allowed are {', '.join(BYTES_OF)}"
        )
    if not (_are_counts(shape) and len(shape) <= _MAX_DIMENSIONS):
        raise _wrong(
            f"the shape of tensor {shown} is no list of at most {_MAX_DIMENSIONS} lengths"
        )
    num_bytes = math.prod(shape) * BYTES_OF[dtype]
    if not (_are_counts(places) and len(places) == 2 and places[1] - places[0] == num_bytes):
        raise _wrong(f"tensor {shown} takes {num_bytes:,} bytes, and its data_offsets say another")
    return TensorEntry(
        dtype=dtype, shape=tuple(shape), start=start + places[0], num_bytes=num_bytes
    )


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**53 for value in values
    )


def _check_places(tensors: Mapping[str, TensorEntry], start: int, size: int) -> None:
    """Check that the tensors lie one behind the other and fill the file."""
    end = start
    for name, entry in sorted(
        tensors.items(), key=lambda item: (item[1].start, item[1].num_bytes)
    ):
        if entry.start != end:
            what = (
                "overlaps with the one before" if entry.start < end else "leaves a gap before it"
            )
            raise _wrong(f"tensor {name!r} {what}")
        end += entry.num_bytes
    if end != size:
        what = "it is truncated" if end > size else "something else lies behind its tensors"
        raise _wrong(f"its tensors end at byte {end:,}, the file at {size:,}: {what}")
