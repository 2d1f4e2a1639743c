"""How images of any shape become squares of one size: one rule for all of them.

`crop` takes the square in the middle, as wide as the shorter side; `pad` keeps all of the image,
with black bars; `stretch` gives up its shape. Then pixels are averaged (bilinear, antialiased).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from npas.data._importing.pictures import Bytes, pillow

Fit = Literal["crop", "pad", "stretch"]

LARGE_SIZES = (64, 96, 128, 160, 192, 224)
"""What is chosen from where images are larger than the first."""

SMALLEST, LARGEST = 4, 1024

RULES: dict[Fit, str] = {
    "crop": "the square in the middle, as wide as the shorter side",
    "pad": "all of the image, with black bars where it is no square",
    "stretch": "all of the image, stretched to a square",
}


def fitted(image: Any, size: int, fit: Fit) -> Bytes:
    """Return an image as uint8 `(channels, size, size)`.

    Args:
        image: Pillow's, of mode "L" or "RGB".
        size: height = width, pixels.
        fit: the rule.
    """
    library = pillow("Image")
    smooth, (width, height) = library.Resampling.BILINEAR, image.size
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        # One step: resized before it is cropped, a narrow image would be of any size between.
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), smooth, box=box)
    elif fit == "stretch" or width == height:
        image = image.resize((size, size), smooth)
    else:
        wide, high = (max(1, round(size * side / max(width, height))) for side in (width, height))
        inside = image.resize((wide, high), smooth)
        image = library.new(image.mode, (size, size))
        image.paste(inside, ((size - wide) // 2, (size - high) // 2))
    pixels: Bytes = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def chosen_size(shorter: Sequence[int]) -> tuple[int, str]:
    """Return the size of a dataset whose user gave none, and why it is this one.

    Args:
        shorter: the shorter side of each image, pixels; at least one.
    """
    median = sorted(shorter)[(len(shorter) - 1) // 2]
    size = max([s for s in LARGE_SIZES if s <= median], default=max(median, SMALLEST))
    of = f"the median of the shorter sides is {median}"
    if size == median:
        return size, of
    listed = ", ".join(map(str, LARGE_SIZES))
    return size, f"{of}; the largest of {listed} that is not above it" if median > size else (
        f"{of}, and {SMALLEST} is the least"
    )
