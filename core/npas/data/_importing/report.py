"""What an import tells, as JSON: what was found, what was made of it, what to look at."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Told(BaseModel):
    """Of a report; a report of a later release may say more, which is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ClassCount(Told):
    """Images of one class."""

    name: str
    train: int
    validation: int
    test: int


class SizesFound(Told):
    """What images were before they were fitted: width and height, pixels."""

    smallest: tuple[int, int]
    largest: tuple[int, int]
    median_shorter_side: int


class SkippedFile(Told):
    """An image that could not be read, and why."""

    name: str
    reason: str


class SamePixels(Told):
    """Files that hold one picture, with the split and the class of each."""

    names: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]


class DuplicatesFound(Told):
    """Pictures that are there several times.

    Attributes:
        pictures: how many such pictures there are.
        leaks: how many of them are in several splits.
        contradictions: how many of them are of several classes.
        dropped: training images that were left out for it.
        examples: some of them, leaks first.
    """

    pictures: int
    leaks: int
    contradictions: int
    dropped: int
    examples: tuple[SamePixels, ...]


class ImportReport(Told):
    """What an import found and made.

    Attributes:
        format: "npz", "images" or "parquet".
        facts: what plans need, see `npas.data.Facts`.
        fingerprint: that the dataset has, SHA-256.
        class_names: by label; numbers where classes have no names.
        counts: images of each class, in the order of labels; the first 1,000 classes.
        rule: how images became what they are.
        splits: how they were split.
        sizes: None for arrays of one size.
        modes: images of each kind of pixels, in Pillow's words.
        formats: files of each format.
        num_skipped: images that could not be read.
        skipped: the first 1,000 of them.
        num_ignored: other files.
        ignored: the first 100 of them.
        duplicates: pictures that are there several times.
        warnings: sentences.
    """

    format: str
    facts: dict[str, Any]
    fingerprint: str
    class_names: tuple[str, ...]
    counts: tuple[ClassCount, ...]
    rule: str
    splits: str
    sizes: SizesFound | None
    modes: dict[str, int]
    formats: dict[str, int]
    num_skipped: int
    skipped: tuple[SkippedFile, ...]
    num_ignored: int
    ignored: tuple[str, ...]
    duplicates: DuplicatesFound
    warnings: tuple[str, ...]
