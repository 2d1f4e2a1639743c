"""Image classifiers of Hugging Face transformers by their configuration, as `hf:TYPE`, untrained.

A network is made of a configuration that is written here: nothing is asked of the hub, and no
code comes from there.
"""

import functools
import math
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from torch import Tensor, nn

from npas import registry
from npas.arch.layers import RoleOf
from npas.errors import InvalidSpecError, UnknownNameError
from npas.spec import ArchitectureSpec, Spec

PREFIX = "hf:"

TYPES = (
    *("beit", "bit", "clip", "convnext", "convnextv2", "cvt", "data2vec-vision", "deit", "dinov2"),
    *("dinov2_with_registers", "donut-swin", "efficientnet", "focalnet", "hgnet_v2", "hiera"),
    *("ijepa", "levit", "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2"),
    *("poolformer", "pvt", "pvt_v2", "regnet", "resnet", "segformer", "siglip", "swiftformer"),
    *("swin", "swinv2", "textnet", "vit", "vit_msn"),
)
"""Types that build and answer with logits; later versions of transformers may have more."""

REFUSED = {
    "dinat": "it needs a package of compiled kernels",
    "imagegpt": "it reads colours as tokens",
    "perceiver": "it has three ways to read images",
    "pp_lcnet": "its answer has no logits",
    "shieldgemma2": "it reads images with text",
    "siglip2": "it reads patches that were cut before",
    "timm_wrapper": "it is another name for timm:NAME",
}

_UNREAD = (".embeddings.mask_token", "vision_model.post_layernorm.")
"""Of some types, what no logit depends on. They stay, frozen, as files have them."""

_CLAMP = "set_shift_and_window_size"
"""What blocks of some types call when they run."""

Count = Annotated[int, Field(ge=1, le=16384)]
Counts = Count | Annotated[str, StringConstraints(pattern=r"^\d{1,5}(,\d{1,5}){0,7}$")]
"""A number, or where a network has one for each stage a list in text, such as "2,2,6,2"."""
Rate = Annotated[float, Field(ge=0, lt=1)]


class HfOptions(Spec):
    """Fields of configurations; a type refuses those it does not have."""

    hidden_size: Count | None = None
    hidden_sizes: Counts | None = Field(None, description='one for each stage: "64,128,256,512"')
    depths: Counts | None = Field(None, description='blocks of each stage: "2,2,6,2"')
    num_hidden_layers: Annotated[int, Field(ge=1, le=200)] | None = None
    num_attention_heads: Counts | None = None
    num_heads: Counts | None = Field(None, description="of each stage")
    intermediate_size: Count | None = None
    embed_dim: Counts | None = None
    embedding_size: Count | None = Field(None, description="channels of the stem")
    patch_size: Counts | None = None
    patch_stride: Counts | None = None
    window_size: Count | None = None
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] | None = None
    depth_multiplier: Annotated[float, Field(gt=0, le=8)] | None = None
    width_coefficient: Annotated[float, Field(gt=0, le=8)] | None = None
    depth_coefficient: Annotated[float, Field(gt=0, le=8)] | None = None
    groups_width: Count | None = None
    layer_type: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")] | None = None
    downsample_in_first_stage: bool | None = None
    drop_path_rate: Rate | None = None
    hidden_dropout_prob: Rate | None = None
    attention_probs_dropout_prob: Rate | None = None


def _auto() -> Any:
    """Return how transformers finds its models: seconds pass in the import."""
    return registry.imported("transformers.models.auto", extra="hf")


@functools.cache
def types() -> tuple[str, ...]:
    """Return all types with a head that classifies images; MissingPackageError without them."""
    found = _auto().modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    return tuple(sorted(found.keys() - REFUSED.keys()))


_ANSWERING: dict[type[nn.Module], type[nn.Module]] = {}


def _answering(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the class of models of a kind that answer with logits alone, made at first use."""
    if kind not in _ANSWERING:
        _ANSWERING[kind] = _made(kind)
    return _ANSWERING[kind]


def _made(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a new class of models that answer with logits alone; parameters keep their names."""

    def forward(self: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor = kind.forward(self, images).logits
        return logits

    def reduced(self: nn.Module) -> tuple[Any, ...]:
        return _remade, (kind,), self.__dict__

    members = {"forward": forward, "__reduce__": reduced, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), members)


def _remade(kind: type[nn.Module]) -> nn.Module:
    """Return an empty module for what copies and pickles hold."""
    answering = _answering(kind)
    return answering.__new__(answering)


class HfFamily:
    """hf:TYPE for every type that transformers maps to an image classifier."""

    title = "image classifier of Hugging Face transformers, by configuration"
    example = "hf:mobilevitv2"
    sizes = (1000, 3, 224)
    Options = HfOptions

    def names(self) -> list[str]:
        """Return the names of types that were tried, prefix included; none without the package."""
        return [PREFIX + name for name in TYPES if registry.is_installed("transformers")]

    def matches(self, name: str) -> bool:
        """Return whether the name has the prefix of this family.

        Raises:
            MissingPackageError: transformers is not installed.
            UnknownNameError: it has no such type, or one that cannot be used here.
        """
        if not name.startswith(PREFIX):
            return False
        kind = name.removeprefix(PREFIX)
        if kind in types():
            return True
        names = [PREFIX + each for each in types()]
        why = f"{kind} cannot be used: {REFUSED[kind]}" if kind in REFUSED else ""
        near = registry.nearest(name, names)
        raise UnknownNameError(
            "architecture", name, names, near, advice=why, field="/architecture/name"
        )

    def default_size(self, name: str) -> int:
        """Return the pixels of the type's own configuration; 224 where it has none."""
        kind = name.removeprefix(PREFIX)
        size = getattr(_of_images(_auto().CONFIG_MAPPING[kind]()), "image_size", None)
        return int(size[0] if isinstance(size, list | tuple) else size or self.sizes[2])

    def fits(self, name: str, size: int) -> bool:  # noqa: ARG002
        """Return False: fields may not suit each other, which is found out by running it."""
        return False

    def build(self, spec: ArchitectureSpec) -> nn.Module:
        """Return the network; InvalidSpecError for a field that its type does not have."""
        kind = spec.name.removeprefix(PREFIX)
        try:
            model = _model(_configuration(kind, spec))
            _clamp_windows(model, spec)
            return model
        except (InvalidSpecError, MemoryError):
            raise
        except Exception as error:  # transformers has kinds of its own, of no common class
            raise InvalidSpecError(
                f"transformers cannot build {kind} with {spec.options}: {error}",
                field="/architecture",
            ) from error

    def narrower(self, spec: ArchitectureSpec, factor: float) -> ArchitectureSpec | None:  # noqa: ARG002
        """Return None: widths are several fields, which depend on each other."""
        return None

    def role_of(self, spec: ArchitectureSpec) -> RoleOf | None:  # noqa: ARG002 - general rule
        """Return None: the general rule."""
        return None


def _configuration(kind: str, spec: ArchitectureSpec) -> Any:
    """Return the configuration of a resolved spec."""
    make = _auto().CONFIG_MAPPING[kind]
    usual = make()
    images = _of_images(usual)
    fields = _sizes(kind, images, spec)
    for name, value in spec.options.items():
        if value is not None:
            fields[name] = _field(kind, images, name, value)
    if images is usual:
        return make(num_labels=spec.num_classes, **fields)
    return make(num_labels=spec.num_classes, vision_config=fields)


def _of_images(config: Any) -> Any:
    """Return the part of a configuration that says how images are read."""
    return getattr(config, "vision_config", config)


def _sizes(kind: str, usual: Any, spec: ArchitectureSpec) -> dict[str, Any]:
    """Return the fields that say what images there are."""
    fields: dict[str, Any] = {}
    if (size := getattr(usual, "image_size", None)) is not None:
        is_pair = isinstance(size, list | tuple)
        fields["image_size"] = [spec.input_size] * 2 if is_pair else spec.input_size
    if hasattr(usual, "num_channels"):
        fields["num_channels"] = spec.input_channels
    elif spec.input_channels != 3:
        raise InvalidSpecError(
            f"hf:{kind} reads images of 3 channels, not {spec.input_channels}",
            field="/architecture/input_channels",
        )
    if hasattr(usual, "vision_use_head"):
        fields["vision_use_head"] = False  # no logit depends on it
    return fields


def _field(kind: str, usual: Any, name: str, value: Any) -> Any:
    """Return the value of a field in the form that its type has it.

    Raises:
        InvalidSpecError: the type has no such field, or one of another form.
    """
    pointer = f"/architecture/options/{name}"
    if not hasattr(usual, name):
        known = [each for each in HfOptions.model_fields if hasattr(usual, each)]
        raise InvalidSpecError(
            f"hf:{kind} has no {name}; it has {', '.join(known)}", field=pointer
        )
    own = getattr(usual, name)
    is_list, is_text = isinstance(own, list | tuple), isinstance(own, str)
    if (is_list or is_text) != isinstance(value, str):
        form = (
            'a list in text, such as "2,2,6,2"' if is_list else "text" if is_text else "a number"
        )
        raise InvalidSpecError(f"{name} of hf:{kind} is {form}, not {value!r}", field=pointer)
    if type(own) is int and isinstance(value, float):
        if not value.is_integer():
            raise InvalidSpecError(
                f"{name} of hf:{kind} is a whole number, not {value!r}", field=pointer
            )
        return int(value)
    return [int(each) for each in value.split(",")] if is_list else value


def _model(config: Any) -> nn.Module:
    """Return the model of a configuration, which answers with logits alone."""
    heads = _auto().modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    kind: type[nn.Module] = heads[0] if isinstance(heads, tuple) else heads
    model = _answering(kind)(config)
    for name, parameter in model.named_parameters():
        if any(each in name for each in _UNREAD):
            parameter.requires_grad_(False)
    return model


def _clamp_windows(model: nn.Module, spec: ArchitectureSpec) -> None:
    """Make windows no larger than what they look at, and leave the shift of such ones out.

    transformers' Swin does it when it first runs: a network that ran would have other settings
    than one that is built for its weights.
    """
    stages: list[Any] = [
        each for each in model.modules() if hasattr(each, "blocks") and hasattr(each, "downsample")
    ]
    if not any(hasattr(block, _CLAMP) for stage in stages for block in stage.blocks):
        return
    config: Any = model.config
    length = math.ceil(spec.input_size / _of_images(config).patch_size)
    for stage in stages:
        for block in stage.blocks:
            getattr(block, _CLAMP)((length, length))
        if stage.downsample is not None:
            length = math.ceil(length / 2)


FAMILY = HfFamily()
