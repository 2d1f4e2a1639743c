"""Networks that a request declares layer by layer, and published ones written the same way."""

from pydantic import TypeAdapter
from torch import nn

from npas.arch.families import _declared_build
from npas.arch.families._small_images import ScaleOptions, ends, scale_of
from npas.arch.layers import RoleOf
from npas.spec import DECLARED, ArchitectureSpec, Spec, declared

LENET = [
    {"kind": "conv", "channels": 6, "kernel": 5, "padding": 2, "bias": True},
    {"kind": "activation", "function": "tanh"},
    {"kind": "pool", "function": "average"},
    {"kind": "conv", "channels": 16, "kernel": 5, "padding": 0, "bias": True},
    {"kind": "activation", "function": "tanh"},
    {"kind": "pool", "function": "average"},
    {"kind": "flatten"},
    {"kind": "linear", "outputs": 120},
    {"kind": "activation", "function": "tanh"},
    {"kind": "linear", "outputs": 84},
    {"kind": "activation", "function": "tanh"},
    {"kind": "linear"},
]
"""LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, as it is built
today: every map reads all earlier ones, softmax at the end."""

PUBLISHED = {f"{DECLARED}:lenet": (LENET, 28, 12)}
"""Name -> layers, the usual and the least size of images, pixels."""


def layers_of(spec: ArchitectureSpec) -> tuple[declared.AnyItem, ...]:
    """Return the layers of a spec, its own or those of its name."""
    if spec.layers is not None:
        return spec.layers
    return TypeAdapter(declared.LayerList).validate_python(PUBLISHED[spec.name][0])


class DeclaredFamily:
    """declared, with `layers`; declared:NAME for lists that come along."""

    title = "Network declared layer by layer"
    example = f"{DECLARED}:lenet"
    sizes = (10, 3, 32)
    Options: type[Spec] = ScaleOptions

    def names(self) -> list[str]:
        """Return the lists that come along."""
        return list(PUBLISHED)

    def matches(self, name: str) -> bool:
        """Return whether the name is that of all declared networks, or of a list here."""
        return name == DECLARED or name in PUBLISHED

    def default_size(self, name: str) -> int:
        """Return 32 pixels, or what the list was made for."""
        return PUBLISHED[name][1] if name in PUBLISHED else self.sizes[2]

    def fits(self, name: str, size: int) -> bool:
        """Return whether the size is large enough; building a declared network tells."""
        return name not in PUBLISHED or size >= PUBLISHED[name][2]

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for a layer that does not fit the ones before."""
        num_classes, channels = ends(spec)
        assert spec.input_size is not None
        shape = (channels, spec.input_size, spec.input_size)
        return _declared_build.build(layers_of(spec), shape, num_classes, scale_of(spec))

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec | None:
        """Return the spec with its scale multiplied; None where groups or heads fix the widths."""
        if _fixes_widths(layers_of(spec)):
            return None
        options = {**spec.options, "scale": scale_of(spec) * factor}
        return spec.model_copy(update={"options": options})

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:  # noqa: ARG002 - general rule
        """Return None: the general rule."""
        return None


def _fixes_widths(layers: tuple[declared.Item, ...]) -> bool:
    """Return whether a layer divides its channels by a number that stays as it is."""
    return any(
        getattr(item, "groups", 1) not in (1, "depthwise")
        or getattr(item, "heads", 1) > 1
        or any(_fixes_widths(tuple(body)) for _, body in declared.bodies(item))
        for item in layers
    )


FAMILY = DeclaredFamily()
