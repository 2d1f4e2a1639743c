"""Every image classifier of timm, as `timm:NAME`, untrained."""

import functools
from typing import Any, Literal

from pydantic import Field
from torch import nn

from npas import registry
from npas.arch.layers import RoleOf
from npas.errors import InvalidSpecError, UnknownNameError
from npas.spec import ArchitectureSpec, Spec

PREFIX = "timm:"

WELL_KNOWN = (
    *(
        "convnext_atto",
        "convnext_tiny",
        "deit_tiny_patch16_224",
        "densenet121",
        "edgenext_xx_small",
    ),
    *("efficientnet_b0", "ghostnet_100", "lcnet_050", "mixer_s32_224", "mobilenetv3_small_050"),
    *("mobilenetv4_conv_small", "mobileone_s0", "poolformer_s12", "regnetx_002", "repvit_m0_9"),
    *("resnet18", "resnet50", "resnetv2_50", "swin_tiny_patch4_window7_224"),
    *("test_resnet", "test_vit", "vit_small_patch16_224", "vit_tiny_patch16_224"),
)
"""Of more than a thousand, those that lists name; the rest are known as well."""

_POOLS = ("maxpool", "pool", "pool0")
_NUM_STEM = 3
"""Convolutions before the pool of a stem, at most."""


class TimmOptions(Spec):
    """Options of timm's builders; a model refuses those it does not take."""

    stem: Literal["usual", "small"] = Field(
        "usual",
        description="small, for small images: the first convolution has stride 1, and the pool "
        "behind it is left out",
    )
    drop_rate: float | None = Field(None, ge=0, lt=1, description="dropout before the classifier")
    drop_path_rate: float | None = Field(
        None, ge=0, lt=1, description="residual branches left out"
    )
    patch_size: int | None = Field(None, ge=1, le=64, description="vision transformers")
    embed_dim: int | None = Field(None, ge=8, le=8192, description="vision transformers")
    depth: int | None = Field(None, ge=1, le=200, description="vision transformers")
    num_heads: int | None = Field(None, ge=1, le=128, description="vision transformers")


def _timm() -> Any:
    """Return timm: seconds pass in its import, and most plans do without."""
    return registry.imported("timm", extra="timm")


@functools.cache
def models() -> tuple[str, ...]:
    """Return the names of all models of timm; MissingPackageError where it is not installed."""
    return tuple(_timm().list_models())


class TimmFamily:
    """timm:NAME for every name of `timm.list_models()`."""

    title = "image classifier of timm"
    example = "timm:test_resnet"
    sizes = (1000, 3, 224)
    Options = TimmOptions

    def names(self) -> list[str]:
        """Return well-known names, prefix included; none where timm is not installed."""
        return [PREFIX + name for name in WELL_KNOWN if registry.is_installed("timm")]

    def matches(self, name: str) -> bool:
        """Return whether the name has the prefix of this family.

        Raises:
            MissingPackageError: timm is not installed.
            UnknownNameError: it has no such model.
        """
        if not name.startswith(PREFIX):
            return False
        if name.removeprefix(PREFIX) in models():
            return True
        names = [PREFIX + each for each in models()]
        near = registry.nearest(name, names)
        raise UnknownNameError("architecture", name, names, near, field="/architecture/name")

    def default_size(self, name: str) -> int:
        """Return the pixels that timm's own weights were trained with; without any, 224."""
        found = _timm().models.get_pretrained_cfg(name.removeprefix(PREFIX))
        return int(found.input_size[-1]) if found else self.sizes[2]

    def fits(self, name: str, size: int) -> bool:
        """Return whether it is the size that the model was made for."""
        return size == self.default_size(name)

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for an option that this model does not take."""
        name, options = spec.name.removeprefix(PREFIX), dict(spec.options)
        stem = options.pop("stem", "usual")
        given = {k: v for k, v in options.items() if v is not None}
        given |= {"num_classes": spec.num_classes, "in_chans": spec.input_channels}
        model, is_sized = _built(name, given, spec.input_size)
        if stem == "small":
            if is_sized:
                raise InvalidSpecError(
                    f"timm:{name} is made for images of one size, so its stem is as it is; give a "
                    "smaller patch_size where it takes one",
                    field="/architecture/options/stem",
                )
            _let_stem_keep_size(model)
        return model

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec | None:  # noqa: ARG002
        """Return None: the widths of timm's models are part of their names."""
        return None

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:  # noqa: ARG002 - general rule
        """Return None: the general rule."""
        return None


def _built(name: str, options: dict[str, Any], size: int | None) -> tuple[nn.Module, bool]:
    """Return a model, and whether it is made for images of one size, which it was told."""
    try:
        try:
            return _created(name, {**options, "img_size": size}), True
        except TypeError as error:
            if "img_size" not in str(error):
                raise
        return _created(name, options), False
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise InvalidSpecError(
            f"timm cannot build {name} with {options}: {error}", field="/architecture"
        ) from error


def _created(name: str, options: dict[str, Any]) -> nn.Module:
    model: nn.Module = _timm().create_model(name, pretrained=False, **options)
    return model


def _let_stem_keep_size(model: nn.Module) -> None:
    """Set the stride of the first convolution to 1, and leave out the pool of its stem.

    A convolution whose kernels touch each other (patches) is padded by half a kernel.
    """
    num_convolutions = 0
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            if num_convolutions == 0:
                if module.kernel_size == module.stride:
                    module.padding = tuple(length // 2 for length in module.kernel_size)
                module.stride = (1, 1)
            num_convolutions += 1
        parent, _, attribute = path.rpartition(".")
        if num_convolutions > _NUM_STEM:
            return
        if num_convolutions and attribute in _POOLS and isinstance(module, nn.MaxPool2d):
            setattr(model.get_submodule(parent), attribute, nn.Identity())


FAMILY = TimmFamily()
