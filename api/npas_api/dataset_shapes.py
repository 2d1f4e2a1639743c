"""What is asked and answered about datasets that users send."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from npas.spec import ImageOptions, Labels, Spec
from npas_store import datasets, tables
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from sqlalchemy import inspect

from npas_api.schemas import Shape

DatasetState = Literal["uploading", "processing", "ready", "invalid"]
Format = Literal["npz", "images", "parquet", "weights"]
Title = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w .+-]{0,99}$")]


class DatasetRequest(Spec):
    """A dataset that is going to be sent."""

    name: Title = Field(description="your name for it; datasets may share one, as versions do")
    format: Format = Field(
        description="npz: arrays; images: a zip of folders of images; parquet: a table of images; "
        "weights: no dataset, but a safetensors file of a trained network, to start jobs from"
    )
    bytes: int = Field(ge=1, lt=2**53, description="of the file that will be sent")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="of the file, in hex: what arrives is compared with it"
    )
    options: ImageOptions = Field(default_factory=ImageOptions)
    labels: Labels = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _of_images(cls, value: ImageOptions, info: ValidationInfo) -> ImageOptions:
        if info.data.get("format") == datasets.WEIGHTS and value.model_fields_set:
            raise ValueError("options are how images are read: leave them out where weights are")
        return value


class DatasetQuery(BaseModel):
    """Which of the datasets that users sent."""

    # Unknown parameters are kept for `labels_of`, which takes the labels and refuses the rest.
    model_config = ConfigDict(extra="allow")

    limit: int = Field(20, ge=1, le=100)
    after: Annotated[str, StringConstraints(pattern=r"^ds_[0-9a-f]{32}$")] | None = Field(
        None, description="`next` of the page before"
    )
    format: Format | None = Field(
        None, description="of the upload; left out: any but weights, which are no datasets"
    )
    name: Title | None = None
    state: list[DatasetState] = Field(default=[], max_length=10, description="any of these")


class DatasetUrls(Shape):
    """Where the parts of a dataset are, relative to the server."""

    self: str
    content: str = Field(description="PUT or PATCH the bytes here; HEAD tells how many are here")
    thumbnails: str


class Dataset(Shape):
    """A dataset that a user sent. It never changes once it is ready."""

    id: str
    name: str
    dataset: str | None = Field(description="what a job says to use it; null: they are weights")
    checkpoint: str | None = Field(
        description="of weights, once ready: what a job says as start.checkpoint, their SHA-256"
    )
    state: str = Field(description="uploading, processing, ready, invalid")
    format: str
    options: dict[str, Any]
    labels: dict[str, str]
    upload_bytes: int = Field(description="of the file as it is sent")
    upload_sha256: str | None
    received_bytes: int = Field(description="of those, how many are here")
    facts: dict[str, Any] | None = Field(description="num_classes, input_size, ..., once ready")
    report: dict[str, Any] | None = Field(
        description="what the check found, once ready; null in lists, where it may be long"
    )
    reason: dict[str, Any] | None = Field(
        description="why it is invalid, or waits: code, message, hint, field"
    )
    content_sha256: str | None = Field(description="of the arrays that jobs read, once ready")
    content_bytes: int | None
    created_at: datetime
    received_at: datetime | None
    finished_at: datetime | None
    urls: DatasetUrls

    @classmethod
    def of(cls, row: tables.Dataset) -> Self:
        """Return the shape of a row, which may have been read without its report."""
        left_out = inspect(row).unloaded
        fields = {name: getattr(row, name, None) for name in cls.model_fields.keys() - left_out}
        fields.setdefault("report", None)
        own = f"/v1/datasets/{row.id}"
        urls = DatasetUrls(self=own, content=f"{own}/content", thumbnails=f"{own}/thumbnails")
        is_weights = row.format == datasets.WEIGHTS
        fields["dataset"] = None if is_weights else datasets.PREFIX + row.id
        fields["checkpoint"] = row.content_sha256 if is_weights else None
        return cls.model_validate({**fields, "urls": urls})


class DatasetPage(Shape):
    """What the installation and its data folder have, and a page of what users sent."""

    data: list[dict[str, Any]] = Field(
        description="datasets by name, whether they are here and how to get those that are not; "
        "empty where the query has parameters: those are about what users sent"
    )
    uploaded: list[Dataset] = Field(description="what users sent, the newest first")
    has_more: bool = Field(description="of uploaded")
    next: str | None = Field(description="`after` of the next page")


class RemovedDataset(Shape):
    """What the deletion of a dataset freed on the server's disk."""

    id: str
    freed_files: int
    freed_bytes: int
