"""Architectures: a description in data goes in, an `nn.Module` or a layer table comes out.

Every family is one file in `npas/arch/families`, found by its FAMILY object.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from npas import registry
from npas.arch.deviation import Deviations
from npas.arch.layers import Layer, LayerTable, RoleOf, tabulate, without_embeddings
from npas.arch.meta import SkipInit
from npas.arch.own.family import OWN_FAMILY
from npas.arch.own.skeleton import skeleton, table_of
from npas.errors import InvalidSpecError, UnknownNameError
from npas.plans import Plan
from npas.spec import MAX_LAYERS, MAX_PARAMETERS, ArchitectureSpec, NetworkSpec, Spec, validation
from npas.tasks import TaskName


class Family(Protocol):
    """What a file of `npas/arch/families` offers as FAMILY.

    Promises: `build` is a pure function of the spec and the torch random state, runs no code from
    the spec, and works under the meta device. A family whose networks answer for each cell of an
    image, not for the whole, has an attribute `task` of "cells". One whose networks read token
    numbers has `reads` of "tokens", and says by `num_tokens(spec)` how many there are.

    A family whose networks come in other widths or depths says by `other_sizes(spec)` which there
    are beside that of a resolved spec: specs for the same images and classes, always in the same
    order. Without it, a network is of one size.
    """

    title: str
    example: str
    sizes: tuple[int, int, int]
    """Default num_classes, input_channels, input_size."""
    Options: type[Spec]

    def names(self) -> Sequence[str]:
        """Return well-known names of the family, for lists and for suggestions."""

    def matches(self, name: str) -> bool:
        """Return whether the name belongs to this family."""

    def default_size(self, name: str) -> int:
        """Return the input height and width, in pixels, when nothing else says it."""

    def fits(self, name: str, size: int) -> bool:
        """Return whether the network surely runs on images of that size; others are tried out."""

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network of a resolved spec; InvalidSpecError if its numbers do not fit."""

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec | None:
        """Return the network with all channel counts times a factor; None if there is none."""

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:
        """Return the rule for layer roles; None for the general one."""


@functools.cache
def known_families() -> dict[str, Family]:
    """Return every family by its file name."""
    package = "npas.arch.families"
    return {
        name: registry.load(package, name, kind="family").FAMILY
        for name in registry.names(package)
    }


def family_of(spec: ArchitectureSpec) -> Family:
    """Return the family a name belongs to.

    Raises:
        UnknownNameError: no family knows it; the nearest known names are in the message.
    """
    if spec.module is not None:
        return OWN_FAMILY
    for family in known_families().values():
        if family.matches(spec.name):
            return family
    known = _known_names()
    near = registry.nearest(spec.name, known)
    examples = [family.example for family in known_families().values()]
    raise UnknownNameError(
        "architecture", spec.name, known, near or examples, field="/architecture/name"
    )


def family_name(spec: ArchitectureSpec) -> str:
    """Return the name of a network's family; UnknownNameError if no family knows it."""
    family = family_of(spec)
    names = (name for name, each in known_families().items() if each is family)
    return next(names, spec.name)


def other_sizes(spec: ArchitectureSpec) -> tuple[ArchitectureSpec, ...]:
    """Return the other sizes of a network's family, see `Family`; none where it has but one.

    Args:
        spec: resolved.
    """
    family: Any = family_of(spec)
    return tuple(family.other_sizes(spec)) if hasattr(family, "other_sizes") else ()


def task_of_family(family: Family) -> TaskName:
    """Return the task of a family's networks: one class an image, unless it says otherwise."""
    return getattr(family, "task", "classes")


def task_of(spec: ArchitectureSpec) -> TaskName:
    """Return the task of a network; UnknownNameError if no family knows it."""
    return task_of_family(family_of(spec))


def _reads(family: Family) -> Literal["images", "tokens"]:
    return getattr(family, "reads", "images")


def reads_of(spec: ArchitectureSpec) -> Literal["images", "tokens"]:
    """Return the kind of a network's inputs: images, unless its family says otherwise."""
    return _reads(family_of(spec))


def example_input(spec: ArchitectureSpec, *, num_examples: int = 2, seed: int = 0) -> Tensor:
    """Return random input that the network of a resolved spec can read.

    Returns:
        Images (B, channels, S, S), normal; or tokens (B, T), integers from 1.

    Raises:
        InvalidSpecError: it is a module of the user's own.
    """
    if spec.module is not None:
        raise InvalidSpecError(f"what {spec.module.kind} reads only its code says")
    generator = torch.Generator().manual_seed(seed)
    assert spec.input_size is not None
    assert spec.input_channels is not None
    if reads_of(spec) == "tokens":
        num_tokens = cast(Any, family_of(spec)).num_tokens(spec)
        shape: tuple[int, ...] = (num_examples, spec.input_size)
        return torch.randint(1, num_tokens, shape, generator=generator)
    shape = (num_examples, spec.input_channels, spec.input_size, spec.input_size)
    return torch.randn(shape, generator=generator)


def resolve(
    spec: ArchitectureSpec, *, sizes: tuple[int, int, int] | None = None
) -> ArchitectureSpec:
    """Fill in the sizes that were left out and check the options.

    Args:
        spec: as the user gave it.
        sizes: num_classes, input_channels, input_size of the dataset, where there is one.

    Raises:
        InvalidSpecError: an option the family does not have, or a value out of its range.
    """
    if spec.module is not None:
        return spec
    family = family_of(spec)
    classes, channels, size = sizes or family.sizes
    if sizes is None or not family.fits(spec.name, size):
        size = family.default_size(spec.name)
    try:
        options = family.Options.model_validate(spec.options)
    except ValidationError as error:
        found = validation.first_of(error, spec.options, within="/architecture/options")
        where = found.pointer.rpartition("/")[2]
        raise InvalidSpecError(
            f"option {where!r} of {spec.name}: {found.message} "
            f"(options: {', '.join(family.Options.model_fields) or 'none'})",
            field=found.pointer,
        ) from error
    return spec.model_copy(
        update={
            "num_classes": spec.num_classes or classes,
            "input_channels": spec.input_channels or channels,
            "input_size": spec.input_size or size,
            "options": options.model_dump(exclude_unset=True),
        }
    )


def as_spec(architecture: ArchitectureSpec | Mapping[str, Any] | str) -> ArchitectureSpec:
    """Return a spec for a name, a spec, or what a request would say.

    Raises:
        InvalidSpecError: the name has characters no architecture name has, or a field is wrong;
            the message and its `field` say where.
    """
    try:
        return ArchitectureSpec.model_validate(architecture)
    except ValidationError as error:
        found = validation.first_of(error, architecture, within="/architecture")
        message = f"not an architecture: {found}{_advice(architecture)}"
        raise InvalidSpecError(message, field=found.pointer) from error


def _advice(given: object) -> str:
    """Return the advice for a value that is no architecture."""
    if isinstance(given, str) and (near := registry.nearest(given, _known_names())):
        return f"; did you mean {' or '.join(near)}?"
    if isinstance(given, list | tuple):
        return '; declare a list of layers as {"name": "declared", "layers": [...]}'
    return "" if isinstance(given, Mapping) else '; give a name such as "wrn-28-10"'


def _known_names() -> list[str]:
    return [name for family in known_families().values() for name in family.names()]


def build(
    architecture: ArchitectureSpec | str, *, device: str = "cpu", seed: int | None = None
) -> nn.Module:
    """Build a network with freshly initialised plain weights.

    Args:
        architecture: "wrn-28-10", or a spec.
        device: "cpu", "cuda", or "meta" for shapes only.
        seed: for the initial weights; None takes torch's current random state.

    Raises:
        UnknownNameError: no such architecture.
        InvalidSpecError: its numbers do not fit together, or it is too large.

    Example:
        >>> import npas
        >>> sum(p.numel() for p in npas.build("wrn-28-10", device="meta").parameters())
        36479194
    """
    spec = resolve(as_spec(architecture))
    if device == "meta":
        return _build_without_init(spec, "meta")[0]
    # On the CPU first, whatever the default device: a seed gives the same weights everywhere.
    with torch.device("cpu"), torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return family_of(spec).build(spec).to(device)


def build_uninitialised(spec: ArchitectureSpec, *, device: str = "cpu") -> nn.Module:
    """Build a network with zeros for random weights: to be loaded at once.

    Of a module of the user's own it has the tensors alone, see `npas.arch.own.skeleton`.
    """
    if spec.module is not None:
        return skeleton(spec.module, device=device)
    return _build_without_init(resolve(spec), device)[0]


def _build_without_init(spec: ArchitectureSpec, device: str) -> tuple[nn.Module, Deviations]:
    with torch.device("cpu"), SkipInit(device) as building:
        return family_of(spec).build(spec), building.deviations


def layer_table(networks: Sequence[NetworkSpec], *, embeddings: bool = False) -> LayerTable:
    """Return the layers of all networks, built on the meta device; kept for the next call.

    Args:
        networks: with resolved architectures.
        embeddings: whether embeddings are layers that may be generated.

    Raises:
        InvalidSpecError: a network is too large to plan, or its numbers do not fit.
    """
    table = _layer_table(tuple(network.model_dump_json() for network in networks))
    return table if embeddings else without_embeddings(table)


@functools.lru_cache(maxsize=64)
def _layer_table(jsons: tuple[str, ...]) -> LayerTable:
    tables: list[LayerTable] = []
    room = MAX_LAYERS
    for text in jsons:
        network = NetworkSpec.model_validate_json(text)
        found, num_layers = _table_of(network, room)
        tables.append(found)
        room -= num_layers
    layers = tuple(layer for each in tables for layer in each.layers)
    table = LayerTable(layers=layers, others=sum(each.others for each in tables))
    if table.dense > MAX_PARAMETERS:
        raise InvalidSpecError(
            f"the dense size is {table.dense:,} parameters; at most {MAX_PARAMETERS:,} are "
            "planned: choose a smaller depth or width",
            field="/architecture",
        )
    return table


def _table_of(network: NetworkSpec, room: int) -> tuple[LayerTable, int]:
    """Return the layers of one network, and how many there are of at most `room`."""
    spec, name = network.architecture, network.name
    if spec.module is not None:
        _check_room(len(spec.module.layers), room)
        return table_of(name, spec.module), len(spec.module.layers)
    model, deviations = _build_without_init(spec, "meta")
    num_layers = sum(p.dim() > 1 for p in model.parameters())
    _check_room(num_layers, room)
    _try(spec, model)
    role_of, classes = family_of(spec).role_of(spec), spec.num_classes or 0
    found = tabulate({name: model}, {name: role_of}, {name: classes}, {name: deviations})
    return found, num_layers


def _check_room(num_layers: int, room: int) -> None:
    if num_layers > room:
        raise InvalidSpecError(
            f"more than {MAX_LAYERS:,} layers in all are not planned: choose a smaller depth, "
            "or fewer networks",
            field="/architecture",
        )


def planned_layers(plan: Plan) -> tuple[Layer, ...]:
    """Return the layers of a plan, in the order of its networks: embeddings if it has them."""
    slots = {slot.key for group in plan.groups for slot in group.slots}
    named = slots | {layer.key for layer in plan.private}
    table = layer_table(plan.networks, embeddings=True)
    return tuple(layer for layer in table.layers if layer.key in named)


def _try(spec: ArchitectureSpec, model: nn.Module) -> None:
    """Run a network on the meta device if it may not run: at an unusual size, it may be too small.

    Networks of other libraries say so by errors of several kinds.
    """
    assert spec.input_size is not None
    assert spec.input_channels is not None
    if family_of(spec).fits(spec.name, spec.input_size):
        return
    shape = (2, spec.input_channels, spec.input_size, spec.input_size)
    try:
        with torch.no_grad():
            # Buffers computed from real numbers were left on the CPU.
            model.to("meta")(torch.empty(shape, device="meta"))
    except (RuntimeError, AssertionError, ValueError, LookupError, ArithmeticError) as error:
        usual = family_of(spec).default_size(spec.name)
        is_usual = spec.input_size == usual
        raise InvalidSpecError(
            f"{spec.name} does not run on images of {spec.input_size} pixels ({error}); "
            + ("its options do not suit it" if is_usual else f"its usual input_size is {usual}"),
            field="/architecture/options" if is_usual else "/architecture/input_size",
        ) from error


def catalogue() -> list[dict[str, Any]]:
    """Return every family with its names, defaults and options."""
    return [
        {
            "family": name,
            "title": family.title,
            "example": family.example,
            "names": list(family.names()),
            "defaults": dict(
                zip(("num_classes", "input_channels", "input_size"), family.sizes, strict=True)
            ),
            "options": family.Options.model_json_schema(),
            "task": task_of_family(family),
            "reads": _reads(family),
        }
        for name, family in known_families().items()
    ]
