"""Files of trained weights that hold no plan: whose network they are, by the tensors they name."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from npas import arch
from npas.errors import StartError
from npas.plans import LayerKey
from npas.sharing.sameness import FIELD
from npas.sharing.weights_header import read_header as read_header
from npas.spec import NetworkSpec

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and trainers put before all names of a network."""

COUNTERS = "num_batches_tracked"
"""Batches that a norm has seen: old files leave it out, and no output depends on it."""


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
