"""One image file: what its header says, and its pixels, upright, as grey or as colour.

Transparent pixels lie on white. 16-bit grey is divided by 257. Of several pictures in a file the
first is taken.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from npas import registry
from npas.data._importing.limits import ImportLimits
from npas.data._importing.notes import UnreadableError

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")

_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, AttributeError),
    *(ArithmeticError, RuntimeError, AssertionError, MemoryError, struct.error, zlib.error),
    Warning,  # of decompression bombs
)
"""What Pillow raises over bytes that are not what they should be."""

_GREY = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"})
_DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_ORIENTATION = 0x0112  # of EXIF
_PER_DEEP = 257  # 65,535 becomes 255
_WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What an image says of itself, pixels unread.

    Attributes:
        width: pixels, before it is turned upright.
        height: likewise.
        mode: of its pixels, in Pillow's words.
        format: such as "PNG".
        is_grey: whether it has no colours.
        is_animated: whether more pictures follow.
    """

    width: int
    height: int
    mode: str
    format: str
    is_grey: bool
    is_animated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An image as it is to be fitted.

    Attributes:
        image: Pillow's, upright, of mode "L" or "RGB".
        brightest: of a 16-bit image, its largest value; None of others.
    """

    image: Any
    brightest: int | None


def pillow(module: str) -> Any:
    """Return a module of Pillow.

    Raises:
        MissingPackageError: it is not installed.
    """
    return registry.imported(f"PIL.{module}", extra="images")


def header(content: bytes, limits: ImportLimits) -> Header:
    """Read what an image says of itself; of a PNG, check that no byte has changed.

    Raises:
        UnreadableError: it is none of the formats, damaged, or too large.
    """
    with _opened(content, limits) as image:
        found = Header(
            width=image.width,
            height=image.height,
            mode=image.mode,
            format=image.format,
            is_grey=image.mode in _GREY,
            is_animated=image.format != "MPO" and bool(getattr(image, "is_animated", False)),
        )
        if image.format == "PNG":
            image.verify()  # its checksums, which nobody looks at while decoding
        return found


def picture(content: bytes, *, channels: int, limits: ImportLimits) -> Picture:
    """Decode an image.

    Args:
        content: of the file.
        channels: 1 for grey, 3 for colour.
        limits: of the import.

    Raises:
        UnreadableError: it is none of the formats, damaged, or too large.
    """
    with _opened(content, limits) as image:
        turn = _turn(image)
        image.load()
        brightest = None
        if image.mode in _DEEP:
            deep = np.asarray(image).astype(np.uint16)
            brightest = int(deep.max())
            scaled = ((deep.astype(np.uint32) + _PER_DEEP // 2) // _PER_DEEP).astype(np.uint8)
            image = pillow("Image").fromarray(scaled)
        upright = image if turn is None else image.transpose(turn)
        return Picture(image=_converted(upright, channels), brightest=brightest)


@contextmanager
def _opened(content: bytes, limits: ImportLimits) -> Iterator[Any]:
    """Open an image; whatever its bytes make Pillow raise is one kind of error."""
    library = pillow("Image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", library.DecompressionBombWarning)
            with library.open(io.BytesIO(content), formats=FORMATS) as image:
                if min(image.size) < 1 or image.width * image.height > limits.max_image_pixels:
                    raise UnreadableError(
                        f"has {image.width} x {image.height} pixels; at most "
                        f"{limits.max_image_pixels:,} in all"
                    )
                yield image
    except library.UnidentifiedImageError as error:
        raise UnreadableError(f"is no image of {', '.join(FORMATS)}") from error
    except (*_BROKEN, library.DecompressionBombError) as error:
        said = " ".join(str(error).split())[:80]
        raise UnreadableError(f"is damaged ({said or type(error).__name__})") from error


def _turn(image: Any) -> Any:
    """Return what makes an image upright by its EXIF, None where nothing has to be done."""
    ways = pillow("Image").Transpose
    try:
        said = image.getexif().get(_ORIENTATION)
    except _BROKEN:
        return None  # the pixels may be whole where what stands beside them is not
    turns = {
        2: ways.FLIP_LEFT_RIGHT,
        3: ways.ROTATE_180,
        4: ways.FLIP_TOP_BOTTOM,
        5: ways.TRANSPOSE,
        6: ways.ROTATE_270,
        7: ways.TRANSVERSE,
        8: ways.ROTATE_90,
    }
    return turns.get(said) if isinstance(said, int) else None


def _converted(image: Any, channels: int) -> Any:
    """Return an image as grey or colour, transparent parts on white."""
    if image.mode in ("I", "F"):
        raise UnreadableError(
            "has 32-bit pixels, whose range nobody knows: save it as 8 or 16 bit"
        )
    mode = "L" if channels == 1 else "RGB"
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = pillow("Image").new("RGBA", image.size, (*_WHITE, 255))
        image = pillow("Image").alpha_composite(ground, image).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image if image.mode == mode else image.convert(mode)
