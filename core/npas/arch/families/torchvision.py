"""Every classification model of torchvision, as `torchvision:NAME`, untrained."""

import functools
from typing import Any

from pydantic import Field
from torch import nn

from npas import registry
from npas.arch.families._small_images import MAX_SCALE, WIDTHS
from npas.arch.layers import RoleOf
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, Spec

PREFIX = "torchvision:"
FIXED_SIZES = {"inception_v3": 299}
WITHOUT_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Their auxiliary heads change what forward returns while training; they are left out."""


class TorchvisionOptions(Spec):
    """Options of torchvision's builders; a model refuses those it does not take."""

    dropout: float | None = Field(None, ge=0, lt=1)
    width_mult: float | None = Field(None, gt=0, le=8, description="mobilenet_v2")
    width_per_group: int | None = Field(None, ge=1, le=1024, description="resnet family")
    groups: int | None = Field(None, ge=1, le=256, description="resnet family")


def _models() -> Any:
    """Return torchvision's models: seconds pass in their import, and most plans do without."""
    return registry.imported("torchvision.models", extra="vision")


@functools.cache
def known() -> tuple[str, ...]:
    """Return the names of all classification models; none where torchvision is not installed."""
    if not registry.is_installed("torchvision"):
        return ()
    return tuple(_models().list_models(module=_models()))


def _replace_stem(model: nn.Module, num_channels: int) -> None:
    """Give the first convolution another number of input channels, initialised as a new layer."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            assert isinstance(module.padding, tuple)
            stem = nn.Conv2d(
                num_channels,
                module.out_channels,
                (module.kernel_size[0], module.kernel_size[1]),
                stride=(module.stride[0], module.stride[1]),
                padding=(module.padding[0], module.padding[1]),
                bias=module.bias is not None,
            )
            parent, _, attribute = path.rpartition(".")
            setattr(model.get_submodule(parent), attribute, stem)
            return


class TorchvisionFamily:
    """torchvision:NAME for every name of `torchvision.models.list_models()`."""

    title = "torchvision classification model"
    example = "torchvision:resnet50"
    sizes = (1000, 3, 224)
    Options = TorchvisionOptions

    def names(self) -> list[str]:
        """Return all names, prefix included."""
        return [PREFIX + name for name in known()]

    def matches(self, name: str) -> bool:
        """Return whether torchvision has a classification model of that name.

        Raises:
            MissingPackageError: it is not installed.
        """
        if not name.startswith(PREFIX):
            return False
        return bool(_models()) and name.removeprefix(PREFIX) in known()

    def default_size(self, name: str) -> int:
        """Return 224 pixels, or what the model was made for."""
        return FIXED_SIZES.get(name.removeprefix(PREFIX), self.sizes[2])

    def fits(self, name: str, size: int) -> bool:
        """Return whether it is the size that the model was made for."""
        return size == self.default_size(name)

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for an option that this model does not take."""
        name = spec.name.removeprefix(PREFIX)
        options = self._arguments(name, spec)
        try:
            model: nn.Module = _models().get_model(name, weights=None, **options)
        except (TypeError, ValueError, AssertionError) as error:
            raise InvalidSpecError(
                f"torchvision cannot build {name} with {options}: {error}", field="/architecture"
            ) from error
        if spec.input_channels != 3:
            assert spec.input_channels is not None
            if hasattr(model, "transform_input"):
                # Inception re-scales three colour channels; other images have none to re-scale.
                model.__dict__["transform_input"] = False
            _replace_stem(model, spec.input_channels)
        return model

    def _arguments(self, name: str, spec: ArchitectureSpec) -> dict[str, Any]:
        options: dict[str, Any] = {**spec.options, "num_classes": spec.num_classes}
        if name.startswith("vit_"):
            options["image_size"] = spec.input_size
        if name.startswith("maxvit_"):
            options["input_size"] = (spec.input_size, spec.input_size)
        if name in WITHOUT_AUXILIARY_HEADS:
            options |= {"aux_logits": False, "init_weights": False}
        return options

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec | None:
        """Return the network of another width; MobileNetV2 alone takes one for all its layers."""
        if spec.name != PREFIX + "mobilenet_v2":
            return None
        width = float(spec.options.get("width_mult") or 1.0)
        options = {**spec.options, "width_mult": width * factor}
        return spec.model_copy(update={"options": options})

    def other_sizes(self, spec: ArchitectureSpec) -> tuple[ArchitectureSpec, ...]:
        """Return the other widths of MobileNetV2; the builders of the others know none."""
        found = [each for width in WIDTHS if width != 1.0 if (each := self.narrower(spec, width))]
        return tuple(each for each in found if float(each.options["width_mult"]) <= MAX_SCALE)

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:  # noqa: ARG002 - general rule
        """Return None: the general rule."""
        return None


FAMILY = TorchvisionFamily()
