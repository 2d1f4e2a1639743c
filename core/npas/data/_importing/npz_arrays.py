"""An .npz file of arrays, of any shape of image: what a whole dataset is made of."""

from pathlib import Path

import numpy as np

from npas.data import _npz
from npas.data._importing import fitting
from npas.data._importing.album import SPLITS, Split
from npas.data._importing.gathering import Gathered
from npas.data._importing.limits import ImportLimits, shown_bytes
from npas.data._importing.notes import Notes
from npas.data._importing.pictures import Bytes, pillow
from npas.spec import ImageOptions


def gathered(path: Path, notes: Notes, options: ImageOptions, limits: ImportLimits) -> Gathered:
    """Read the arrays; images that are not square, or not of the size asked for, are fitted.

    Raises:
        DataError: the file is not what it must be, or too large.
        MissingPackageError: images have to be fitted, and Pillow is not installed.
    """
    headers = _npz.read_headers(path, is_square=False)
    stored = sum(header.num_bytes for key, header in headers.items() if key[0] == "x")
    if stored > limits.max_array_bytes:
        raise notes.refusal(
            f"its images are {shown_bytes(stored)}; at most {shown_bytes(limits.max_array_bytes)}"
        )
    labels = _npz.read_labels(path, headers)
    if labels.num_classes > limits.max_classes:
        raise notes.refusal(f"has {labels.num_classes:,} classes; at most {limits.max_classes:,}")
    parts: list[Split] = [split for split in SPLITS if f"x_{split}" in headers]
    whole = [_npz.channels_first(_npz.read_pixels(path, f"x_{split}")) for split in parts]
    images, rule = _squared(np.concatenate(whole), notes, options, limits)
    counts = {split: len(part) for split, part in zip(parts, whole, strict=True)}
    return Gathered(
        images=images,
        labels=np.concatenate([labels.by_split[split] for split in parts]),
        splits=[split for split in parts for _ in range(counts[split])],
        names=[f"x_{split}[{index}]" for split in parts for index in range(counts[split])],
        class_names=labels.names,
        num_classes=labels.num_classes,
        rule=rule,
    )


def _squared(
    images: Bytes, notes: Notes, options: ImageOptions, limits: ImportLimits
) -> tuple[Bytes, str]:
    """Return images as asked, and how they became so."""
    count, channels, height, width = images.shape
    size, why = options.image_size, "as asked"
    if size is None:
        is_fine = height == width and fitting.SMALLEST <= height <= fitting.LARGEST
        size, why = (height, "as given") if is_fine else fitting.chosen_size([min(height, width)])
    wanted = channels if options.channels == "auto" else options.channels
    if (height, width, channels) == (size, size, wanted):
        return images, f"{size} x {size}, {channels} channels, as given"
    if channels not in (1, 3):
        raise notes.refusal(
            f"images of {channels} channels cannot be resized or converted: give them square, and "
            "leave out image_size and channels"
        )
    needed = count * wanted * size * size
    if needed + images.nbytes > limits.max_array_bytes:
        raise notes.refusal(
            f"{shown_bytes(images.nbytes)} of images, and {shown_bytes(needed)} at "
            f"{size} x {size}; at most {shown_bytes(limits.max_array_bytes)} together"
        )
    library, mode = pillow("Image"), "L" if wanted == 1 else "RGB"
    made: Bytes = np.empty((count, wanted, size, size), np.uint8)
    for index, image in enumerate(images):
        pixels = image[0] if channels == 1 else image.transpose(1, 2, 0)
        one = library.fromarray(np.ascontiguousarray(pixels)).convert(mode)
        made[index] = fitting.fitted(one, size, options.fit)
    return made, f"{size} x {size}, {wanted} channels ({why}): {fitting.RULES[options.fit]}"
