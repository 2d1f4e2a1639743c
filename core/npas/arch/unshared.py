"""Which layers a user keeps out of all sharing: by kind, by role, or by name."""

import dataclasses
import difflib
import typing
from collections.abc import Sequence

from npas.arch.layers import KINDS, LayerTable, Role, named
from npas.errors import InvalidSpecError

ROLES = typing.get_args(Role)


def without(table: LayerTable, unshared: Sequence[str]) -> LayerTable:
    """Return the table without the layers that a user wants unshared; they count as others.

    Args:
        table: all layers.
        unshared: a kind ("depthwise"), a role ("stem"), or a pattern with * for layer names
            ("stages.0.*") or for network and layer ("small/*"), each.

    Raises:
        InvalidSpecError: an entry stands for no layer at all.
    """
    if not unshared:
        return table
    kept: set[int] = set()
    for index, entry in enumerate(unshared):
        found = {i for i, la in enumerate(table.layers) if entry in (la.kind, la.role)}
        found.update(named(entry, table.layers))
        if not found:
            raise InvalidSpecError(_nothing(entry, table), field=f"/unshared/{index}")
        kept |= found
    layers = tuple(layer for i, layer in enumerate(table.layers) if i not in kept)
    return dataclasses.replace(
        table, layers=layers, others=table.dense - sum(layer.size for layer in layers)
    )


def _nothing(entry: str, table: LayerTable) -> str:
    """Return the message about an entry that names no layer."""
    if entry in ROLES or entry in KINDS:
        has = sorted({word for layer in table.layers for word in (layer.kind, layer.role)})
        return f"unshared {entry!r}: there is no such layer; there are {', '.join(has)}"
    names = [layer.name for layer in table.layers]
    known = [*ROLES, *KINDS, *names]
    near = difflib.get_close_matches(entry, known, n=3, cutoff=0.4) or names[:3]
    return (
        f"unshared {entry!r} is no kind ({', '.join(KINDS)}), no role ({', '.join(ROLES)}) and no "
        f"layer's name, * standing for anything; near it: {', '.join(near)}"
    )
