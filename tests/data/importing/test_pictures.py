"""Images of all kinds become grey or colour, upright; what is none is told so."""

import io
import struct
import zlib

import numpy as np
import pytest
from npas.data import ImportLimits
from npas.data._importing.notes import UnreadableError
from npas.data._importing.pictures import header, picture
from PIL import Image

LIMITS = ImportLimits(max_image_pixels=100_000)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content, channels=3):
    return np.asarray(picture(content, channels=channels, limits=LIMITS).image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_lossless_formats_are_read_exactly(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(PIXELS)
    if kind == "GIF":  # of 256 colours at most
        image = image.quantize(54)
    content = saved(image, kind, **options)
    assert np.array_equal(read(content), np.asarray(image.convert("RGB")))
    assert header(content, LIMITS).format == kind


def test_jpeg_is_read_nearly_so_grey_and_cmyk_too():
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    assert np.abs(read(saved(Image.fromarray(flat), "JPEG")).astype(int) - flat).max() <= 3
    grey = Image.fromarray(flat[..., 0])
    assert np.abs(read(saved(grey, "JPEG"), 1).astype(int) - 200).max() <= 3
    cmyk = saved(Image.fromarray(flat).convert("CMYK"), "JPEG")
    assert header(cmyk, LIMITS).mode == "CMYK"
    assert np.abs(read(cmyk).astype(int) - flat).max() <= 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_lie_on_white(mode):
    image = Image.fromarray(PIXELS).convert("RGBA")
    image.putalpha(Image.fromarray(np.uint8([[0] * 4 + [255] * 5] * 6)))
    if mode == "P":
        image = Image.fromarray(PIXELS[..., 0] // 64).convert("P")
        content = saved(image, transparency=0)
        hidden = (PIXELS[..., 0] // 64) == 0
        assert (read(content)[hidden] == 255).all()
        return
    found = read(saved(image.convert(mode)))
    assert (found[:, :4] == 255).all()
    wanted = PIXELS if mode == "RGBA" else np.asarray(Image.fromarray(PIXELS).convert("L"))
    assert np.array_equal(found[:, 4:, 0], (wanted[..., 0] if mode == "RGBA" else wanted)[:, 4:])


def test_deep_grey_is_divided_by_257():
    deep = np.linspace(0, 65_535, 54).round().astype(np.uint16).reshape(6, 9)
    for kind in ("PNG", "TIFF"):
        content = saved(Image.fromarray(deep), kind)
        assert header(content, LIMITS).is_grey
        assert np.array_equal(read(content, 1), np.rint(deep / 257).astype(np.uint8))
    found = picture(content, channels=1, limits=LIMITS)
    assert found.brightest == 65_535
    assert picture(saved(Image.fromarray(PIXELS)), channels=1, limits=LIMITS).brightest is None


def test_one_bit_is_black_and_white():
    content = saved(Image.fromarray(PIXELS[..., 0] > 127))
    assert header(content, LIMITS).is_grey
    assert np.array_equal(read(content, 1), np.where(PIXELS[..., 0] > 127, 255, 0))


@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_upright_by_their_exif(turn):
    upright = Image.fromarray(PIXELS)
    ways = Image.Transpose
    undo = {
        2: ways.FLIP_LEFT_RIGHT,
        3: ways.ROTATE_180,
        4: ways.FLIP_TOP_BOTTOM,
        5: ways.TRANSPOSE,
        6: ways.ROTATE_90,
        7: ways.TRANSVERSE,
        8: ways.ROTATE_270,
    }
    stored = upright.transpose(undo[turn]) if turn in undo else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    assert np.array_equal(read(saved(stored, exif=exif)), PIXELS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_picture_of_several_is_taken(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert header(content, LIMITS).is_animated
    assert read(content)[3, 3].tolist() == [255, 0, 0]
    assert not header(saved(frames[0], kind), LIMITS).is_animated


def png_of(width, height, *, data=b"", colour=2):
    """Return a PNG that says it is so large, whatever is in it."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    size = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


WHOLE = saved(Image.fromarray(PIXELS))
BROKEN = {
    "empty": (b"", "is no image of PNG, JPEG"),
    "text": (b"hello" * 100, "is no image"),
    "pickle": (b"\x80\x04\x95\x00\x00\x00", "is no image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no image"),
    "ppm, which is not on the list": (saved(Image.fromarray(PIXELS), "PPM"), "is no image"),
    "ico, which is not on the list": (saved(Image.fromarray(PIXELS), "ICO"), "is no image"),
    "cut off": (WHOLE[: len(WHOLE) // 2], "is damaged"),
    "a flipped byte": (WHOLE[:60] + bytes([WHOLE[60] ^ 255]) + WHOLE[61:], "is damaged"),
    "huge": (png_of(100_000, 100_000), "has|damaged"),
    "large": (png_of(400, 300), "has 400 x 300 pixels; at most 100,000 in all"),
    "a bomb for Pillow": (png_of(60_000, 60_000), "damaged|has"),
    "no width": (png_of(0, 5), "damaged|no image|has"),
}


def header_and_pixels(content):
    header(content, LIMITS)
    return read(content)


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_image_is_told_so(case):
    content, message = BROKEN[case]
    with pytest.raises(UnreadableError, match=message):
        header_and_pixels(content)


def test_pixels_of_32_bits_have_no_range():
    content = saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(UnreadableError, match="32-bit pixels"):
        read(content)
