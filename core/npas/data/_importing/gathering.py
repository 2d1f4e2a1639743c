"""All images of an album as one array: their headers first, so that nothing is decoded in vain."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npas.data._class_names import wrong_class_name
from npas.data._importing import fitting
from npas.data._importing.album import Album, Split
from npas.data._importing.limits import ImportLimits, shown_bytes
from npas.data._importing.names import sorted_classes
from npas.data._importing.notes import Notes, UnreadableError, shown, some_of
from npas.data._importing.pictures import Bytes, Header, header, picture
from npas.spec import ImageOptions

_DARK = 4_096
"""Of 65,536: what cameras of 12 bits reach."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What images were before they were fitted."""

    smallest: tuple[int, int]
    largest: tuple[int, int]
    median_shorter_side: int


@dataclass(kw_only=True, slots=True, eq=False)
class Gathered:
    """Images that are read, not yet in splits where nobody gave any.

    Attributes:
        images: uint8 `(N, channels, size, size)`.
        labels: int64 `(N,)`.
        splits: of each image; None: nobody said.
        names: of each image, for people.
        class_names: by label; empty where they have none.
        num_classes: labels run from 0 to num_classes - 1.
        rule: how they became what they are, a sentence.
        sizes: what they were.
        modes: how many of each kind of pixels, in Pillow's words.
        formats: how many files of each format.
    """

    images: Bytes
    labels: np.ndarray[Any, np.dtype[np.int64]]
    splits: Sequence[Split | None]
    names: Sequence[str]
    class_names: tuple[str, ...]
    num_classes: int
    rule: str
    sizes: Sizes | None = None
    modes: Mapping[str, int] = field(default_factory=dict)
    formats: Mapping[str, int] = field(default_factory=dict)


def gather(album: Album, notes: Notes, options: ImageOptions, limits: ImportLimits) -> Gathered:
    """Read all images.

    Raises:
        DataError: there are none or too many, or more than 1 % cannot be read.
        MissingPackageError: Pillow is not installed.
    """
    total = len(album.items) + len(notes.skipped)
    _check_count(album, notes, limits)
    headers = _headers(album, notes, limits)
    notes.check_skipped(total)
    known = [each for each in headers if each is not None]
    _note_animations(album, headers, notes)
    size, channels, why = _form(known, options)
    _check_room(len(known), size, channels, notes, limits)
    kept, images = _decoded(album, headers, (size, channels), notes, options, limits)
    notes.check_skipped(total)
    class_names = _classes(album, notes, limits)
    number = {name: label for label, name in enumerate(class_names)}
    items = [album.items[index] for index in kept]
    return Gathered(
        images=images,
        labels=np.array([number[item.label] for item in items], np.int64),
        splits=[item.split for item in items],
        names=[item.name for item in items],
        class_names=class_names,
        num_classes=len(class_names),
        rule=_rule(size, channels, why, options),
        sizes=_sizes(known),
        modes=dict(sorted(Counter(each.mode for each in known).items())),
        formats=dict(sorted(Counter(each.format for each in known).items())),
    )


def _check_count(album: Album, notes: Notes, limits: ImportLimits) -> None:
    if not album.items:
        raise notes.refusal(
            "holds no images; put those of a class into a folder of its name, CLASS/*"
        )
    if len(album.items) > limits.max_files:
        raise notes.refusal(f"holds {len(album.items):,} images; at most {limits.max_files:,}")


def _classes(album: Album, notes: Notes, limits: ImportLimits) -> tuple[str, ...]:
    """Return the classes of all splits: no label depends on where images lie."""
    classes = tuple(album.class_names or sorted_classes(item.label for item in album.items))
    if len(classes) > limits.max_classes:
        raise notes.refusal(f"holds {len(classes):,} classes; at most {limits.max_classes:,}")
    if wrong := wrong_class_name(classes):
        raise notes.refusal(wrong)
    return classes


def _headers(album: Album, notes: Notes, limits: ImportLimits) -> list[Header | None]:
    """Return what each image says of itself, None of those that are left out."""
    headers: list[Header | None] = []
    pixels = 0
    for item, content in zip(album.items, album.contents(), strict=True):
        try:
            if isinstance(content, UnreadableError):
                raise content
            found = header(content, limits)
        except UnreadableError as error:
            notes.skip(item.name, str(error))
            headers.append(None)
            continue
        headers.append(found)
        pixels += found.width * found.height
        if pixels > limits.max_total_pixels:
            raise notes.refusal(
                f"its images have more than {limits.max_total_pixels:,} pixels together: make "
                "them smaller first"
            )
    return headers


def _note_animations(album: Album, headers: Sequence[Header | None], notes: Notes) -> None:
    moving = [
        item.name
        for item, each in zip(album.items, headers, strict=True)
        if each is not None and each.is_animated
    ]
    if moving:
        notes.warnings.append(f"only the first picture is taken of {some_of(moving)}")


def _form(headers: Sequence[Header], options: ImageOptions) -> tuple[int, int, str]:
    """Return size, channels, and why the size is what it is."""
    size, why = options.image_size, "as asked"
    if size is None:
        size, why = fitting.chosen_size([min(each.width, each.height) for each in headers])
    if options.channels == "auto":
        return size, 1 if all(each.is_grey for each in headers) else 3, why
    return size, options.channels, why


def _rule(size: int, channels: int, why: str, options: ImageOptions) -> str:
    colours = "grey" if channels == 1 else "colour"
    return f"{size} x {size} {colours} ({why}): {fitting.RULES[options.fit]}"


def _check_room(count: int, size: int, channels: int, notes: Notes, limits: ImportLimits) -> None:
    """Refuse what would not fit, before any pixel is decoded."""
    needed = count * channels * size * size
    if needed > limits.max_array_bytes:
        most = math.isqrt(limits.max_array_bytes // (count * channels))
        raise notes.refusal(
            f"{count:,} images of {size} x {size} are {shown_bytes(needed)}; at most "
            f"{shown_bytes(limits.max_array_bytes)}: set image_size to at most {most}"
        )


def _decoded(
    album: Album,
    headers: Sequence[Header | None],
    form: tuple[int, int],
    notes: Notes,
    options: ImageOptions,
    limits: ImportLimits,
) -> tuple[list[int], Bytes]:
    """Return which images of the album were decoded, and those."""
    size, channels = form
    count = sum(each is not None for each in headers)
    images: Bytes = np.empty((count, channels, size, size), np.uint8)
    kept: list[int] = []
    brightest: list[int] = []
    for index, content in enumerate(album.contents()):
        if headers[index] is None:
            continue
        try:
            if isinstance(content, UnreadableError):
                raise content
            found = picture(content, channels=channels, limits=limits)
            images[len(kept)] = fitting.fitted(found.image, size, options.fit)
        except UnreadableError as error:
            notes.skip(album.items[index].name, str(error))
            continue
        kept.append(index)
        brightest += [] if found.brightest is None else [found.brightest]
    if brightest and max(brightest) < _DARK:
        notes.warnings.append(
            f"16-bit images are divided by 257, and none is brighter than {max(brightest)} of "
            "65,535: they are nearly black; stretch their values first"
        )
    return kept, images[: len(kept)]


def _sizes(headers: Sequence[Header]) -> Sizes:
    by_area = sorted(headers, key=lambda each: (each.width * each.height, each.width))
    shorter = sorted(min(each.width, each.height) for each in headers)
    return Sizes(
        smallest=(by_area[0].width, by_area[0].height),
        largest=(by_area[-1].width, by_area[-1].height),
        median_shorter_side=shorter[(len(shorter) - 1) // 2],
    )


def check_classes(gathered: Gathered, notes: Notes, *, least: int) -> None:
    """Check that there is something to tell apart.

    Args:
        gathered: the images.
        notes: of the import.
        least: images of each class.

    Raises:
        DataError: one class, or one of too few images.
    """
    counts = np.bincount(gathered.labels, minlength=gathered.num_classes).tolist()
    names = gathered.class_names or tuple(map(str, range(gathered.num_classes)))
    if len(counts) < 2:
        raise notes.refusal(f"has one class only, {shown(names[0])}; at least 2 are needed")
    few = {name: count for name, count in zip(names, counts, strict=True) if count < least}
    if few:
        told = some_of(f"{name} ({count})" for name, count in few.items())
        raise notes.refusal(f"classes with fewer than {least} images: {told}")
    present = [count for count in counts if count]
    if max(present) > 10 * min(present):
        notes.warnings.append(
            f"classes differ more than tenfold in size ({min(present)} to {max(present)} images): "
            'training.balance "weights" gives all the same say'
        )
