"""Datasets by name, and how images become those of a dataset."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from npas.spec.checked import Spec
from npas.spec.limits import Name, named


class ImageOptions(Spec):
    """How images of all sizes and kinds become those of a dataset."""

    image_size: int | None = Field(
        None, ge=4, le=1024, description="height = width, pixels; left out: chosen from the images"
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="the square in the middle, black bars around, or another shape"
    )
    channels: Literal[1, 3, "auto"] = Field(
        "auto", description="grey or colour; auto: grey where all images are"
    )
    split_seed: int = Field(0, ge=0, lt=2**31, description="of splits that are made")
    drop_duplicates: bool = Field(
        False, description="train on no image that is there twice, or in another split too"
    )


class DatasetSpec(ImageOptions):
    """A dataset by name, optionally only its first images. A plain string is the name."""

    name: Name = Field(
        description="digits, mnist, cifar10, shortest-path:1, npz:NAME, images:NAME, ..."
    )
    train_images: int | None = Field(None, ge=10, description="use only so many, the first ones")
    test_images: int | None = Field(None, ge=1)

    shorthand: ClassVar[Mapping[str, Any]] = {"type": "string"}
    _shorthand = model_validator(mode="before")(named)

    @field_validator("name")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return value if ":" in value else value.replace("_", "-")
