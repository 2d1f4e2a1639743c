"""A picture to look at before anything is trained: a row of images for each class."""

from pathlib import Path

import numpy as np

from npas.data._importing.gathering import Gathered
from npas.data._importing.notes import shown
from npas.data._importing.pictures import pillow
from npas.data._importing.splitting import Order

ROWS, COLUMNS = 50, 10
"""Classes and images of each that are shown, at most."""

_SIDE, _GAP, _NAMES = 64, 4, 190
_LETTERS = 28
_INK, _PAPER = (31, 41, 51), (255, 255, 255)


def thumbnails(gathered: Gathered, order: Order, target: Path) -> None:
    """Write the first images of each class as one PNG, the names beside them.

    Args:
        gathered: images of 1 or 3 channels.
        order: training images are shown first.
        target: of the file, replaced if it is there.

    Raises:
        MissingPackageError: Pillow is not installed.
        OSError: the disk is full, or the folder is not there.
    """
    library, draw = pillow("Image"), pillow("ImageDraw")
    rows = min(gathered.num_classes, ROWS)
    height = rows * (_SIDE + _GAP) + _GAP
    sheet = library.new("RGB", (_NAMES + COLUMNS * (_SIDE + _GAP) + _GAP, height), _PAPER)
    pen = draw.Draw(sheet)
    places = np.concatenate([order["train"], order["validation"], order["test"]])
    labels = gathered.labels[places]
    for row in range(rows):
        top = _GAP + row * (_SIDE + _GAP)
        chosen = places[labels == row]
        pen.text((_GAP, top + _SIDE // 2 - 12), _name(gathered, row), fill=_INK)
        pen.text((_GAP, top + _SIDE // 2 + 2), f"{len(chosen)} images", fill=_INK)
        for column, place in enumerate(chosen[:COLUMNS]):
            pixels = gathered.images[place].transpose(1, 2, 0)
            image = library.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            image = image.resize((_SIDE, _SIDE), library.Resampling.BILINEAR)
            sheet.paste(image.convert("RGB"), (_NAMES + _GAP + column * (_SIDE + _GAP), top))
    sheet.save(target, format="PNG")


def _name(gathered: Gathered, label: int) -> str:
    """Return what stands beside a row, in letters that Pillow's own font has."""
    name = shown(gathered.class_names[label]) if gathered.class_names else f"class {label}"
    plain = name.encode("ascii", "replace").decode()
    return plain if len(plain) <= _LETTERS else f"{plain[: _LETTERS - 3]}..."
