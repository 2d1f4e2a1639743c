"""Files that people and attackers send as datasets: a few in order, most broken in one place.

Each is made of a seed. What must become of it is part of it: "ready", "invalid", or "either",
where chance decides whether what was damaged matters.
"""

import importlib
import io
import pickle
import random
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

Fate = Literal["ready", "invalid", "either"]
Random = random.Random

CLASSES = ("apple", "pear", "plum")
EACH = 12
"""Images of each class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostileFile:
    """A file to send.

    Attributes:
        kind: what is wrong with it.
        format: that it is announced as.
        content: its bytes.
        fate: what must become of it.
    """

    kind: str
    format: str
    content: bytes
    fate: Fate


def arrays(rng: Random, **changes: Any) -> bytes:
    """Return an .npz file with these arrays in place of good ones; None: without one."""
    draw = np.random.default_rng(rng.getrandbits(32))
    good = {
        "x_train": draw.integers(0, 256, (40, 8, 8, 3), np.uint8),
        "y_train": np.arange(40) % 3,
        "x_test": draw.integers(0, 256, (20, 8, 8, 3), np.uint8),
        "y_test": np.arange(20) % 3,
    }
    file = io.BytesIO()
    np.savez_compressed(file, **{k: v for k, v in (good | changes).items() if v is not None})
    return file.getvalue()


def image(rng: Random, mode: str = "RGB", kind: str = "PNG", **options: Any) -> bytes:
    """Return an image file of random pixels."""
    size = (rng.randrange(9, 20), rng.randrange(9, 20))
    file = io.BytesIO()
    plain = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
    plain.convert(mode).save(file, kind, **options)
    return file.getvalue()


def album(rng: Random, **extra: bytes) -> dict[str, bytes]:
    """Return the files of a good zip, and others beside them."""
    names = {f"{name}/{number}.png": image(rng) for name in CLASSES for number in range(EACH)}
    return names | extra


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980, not of now
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return file.getvalue()


def cut(rng: Random, content: bytes) -> bytes:
    """Return the beginning of some bytes."""
    return content[: rng.randrange(1, len(content))]


def flipped(rng: Random, content: bytes) -> bytes:
    """Return bytes of which some are others."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 3, 30))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _with_entry(rng: Random, name: str, content: bytes = b"x", mode: int = 0) -> bytes:
    """Return a good zip with one more entry, of a raw name and kind."""
    file = io.BytesIO(packed(album(rng)))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of a name that is there already
        entry = zipfile.ZipInfo("entry")
        entry.filename, entry.external_attr = name, mode << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, content)
    return file.getvalue()


def _traversal(rng: Random) -> bytes:
    names = ("../../evil.png", "/etc/evil.png", "..\\evil.png", "C:/evil.png", "a/../../evil.png")
    return _with_entry(rng, rng.choice(names), image(rng))


def _link(rng: Random) -> bytes:
    kind = rng.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFSOCK))
    return _with_entry(rng, "apple/link.png", b"/etc/passwd", kind | 0o777)


def _bomb(rng: Random) -> bytes:
    return _with_entry(rng, "apple/bomb.png", bytes(rng.choice((4, 16, 40)) << 20))


def _lying_bomb(rng: Random) -> bytes:
    """Return a zip whose directory says that a large entry is small."""
    content = bytearray(_with_entry(rng, "apple/bomb.png", bytes(4 << 20)))
    true, said = struct.pack("<I", 4 << 20), struct.pack("<I", 1000)
    return bytes(content.replace(true, said))


def _png(width: int, height: int) -> bytes:
    """Return a PNG that claims a size, and holds nearly nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def _pixel_bomb(rng: Random) -> bytes:
    size = rng.choice(((60_000, 60_000), (2**31 - 1, 2**31 - 1), (100_000, 1), (0, 0)))
    return packed(album(rng, **{"apple/huge.png": _png(*size)}))


def _one_broken(rng: Random) -> bytes:
    return packed(album(rng) | {"pear/1.png": image(rng)[: rng.randrange(1, 150)]})


def _odd_images(rng: Random) -> bytes:
    """Return images that are unusual and in order: all of them must be read."""
    odd = {
        "apple/cmyk.jpg": image(rng, "CMYK", "JPEG"),
        "apple/palette.gif": image(rng, "P", "GIF"),
        "pear/alpha.png": image(rng, "RGBA"),
        "pear/deep.png": image(rng, "I;16"),
        "plum/bits.png": image(rng, "1"),
        "plum/web.webp": image(rng, "RGB", "WEBP"),
        "plum/tagged.tiff": image(rng, "L", "TIFF"),
    }
    frames = [Image.new("P", (9, 9), shade) for shade in (0, 90, 200)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return packed(album(rng) | odd | {"pear/moving.gif": file.getvalue()})


def _names(rng: Random) -> bytes:
    """Return a zip with two names that some disks take for one."""
    return packed(album(rng) | {"Apple/0.PNG": image(rng), "apple/0.png": image(rng)})


def _twice(rng: Random) -> bytes:
    return _with_entry(rng, "apple/0.png", image(rng))


def _flagged(rng: Random) -> bytes:
    """Return a zip that says of itself that it is encrypted, or packed by an unknown way."""
    content = bytearray(packed(album(rng)))
    at = content.index(b"PK\x01\x02")
    content[at + (8 if rng.random() < 0.5 else 10)] |= 1 if rng.random() < 0.5 else 97
    return bytes(content)


def _labels(rng: Random) -> bytes:
    files = {f"{number}.png": image(rng) for number in range(36)}
    rows = [f"{number}.png,{CLASSES[number % 3]}" for number in range(36)]
    rows[rng.randrange(36)] = rng.choice(("missing.png,apple", "../0.png,apple", '"', "0.png"))
    return packed(files | {"labels.csv": "\n".join(["file,label", *rows]).encode()})


class Touch:
    """What a pickle of it does when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was executed')",)


def _pickled(rng: Random) -> bytes:
    if rng.random() < 0.3:
        return pickle.dumps(Touch())
    return arrays(rng, y_test=np.array([Touch()] * 20, dtype=object))


def _lying_header(rng: Random) -> bytes:
    """Return an .npz with an array whose header claims terabytes, or is no header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 64, 64, 3)}
    )
    lies = (file.getvalue() + bytes(100), b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\xff\xff{" * 3)
    content = io.BytesIO(arrays(rng, x_train=None))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(zipfile.ZipInfo("x_train.npy"), rng.choice(lies))
    return content.getvalue()


def _npz_bomb(rng: Random) -> bytes:
    images = np.zeros((rng.choice((60_000, 90_000)), 64, 64, 1), np.uint8)
    labels = np.arange(len(images)) % 3
    return arrays(rng, x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])


def _bad_labels(rng: Random) -> bytes:
    labels = np.arange(40) % 3
    wrong = (labels - 1, labels * 1.5, labels * 10**6, labels[:39], labels[:, None, None] + 0j)
    return arrays(rng, y_train=rng.choice(wrong))


def _bad_images(rng: Random) -> bytes:
    wrong = (
        *(np.zeros((40, 2000, 2000), np.uint8)[:, ::1, :1], np.zeros((40, 2, 2), np.uint8)),
        *(np.full((40, 8, 8, 3), np.nan, np.float32), np.full((40, 8, 8, 3), 7e5)),
        *(np.zeros((40, 8, 8, 3), "U3"), np.zeros((0, 8, 8, 3), np.uint8), np.zeros(40, np.uint8)),
    )
    return arrays(rng, x_train=wrong[rng.randrange(len(wrong))])


def _one_class(rng: Random) -> bytes:
    return arrays(rng, y_train=np.zeros(40, int), y_test=np.zeros(20, int))


def _few(rng: Random) -> bytes:
    names = {f"{name}/{number}.png": image(rng) for name in CLASSES for number in range(3)}
    return packed(
        names if rng.random() < 0.5 else {n: c for n, c in names.items() if "apple" in n}
    )


def table(rng: Random, **changes: list[Any]) -> bytes:
    """Return a Parquet file of images with other columns in place of good ones."""
    pyarrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
    number = len(CLASSES) * EACH
    images = [{"bytes": image(rng), "path": f"{each}.png"} for each in range(number)]
    columns = {"image": images, "label": [CLASSES[each % 3] for each in range(number)]}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns | changes), sink)
    return sink.getvalue()


def _bad_table(rng: Random) -> bytes:
    number = len(CLASSES) * EACH
    wrong: tuple[dict[str, list[Any]], ...] = (
        *({"image": [b"no image"] * number}, {"image": [1] * number}, {"label": [None] * number}),
        *({"label": ["one"] * number}, {"image": [{"bytes": _png(50_000, 50_000)}] * number}),
    )
    return table(rng, **rng.choice(wrong))


def _garbage(rng: Random) -> bytes:
    starts = (b"<html>no</html>", b"PK\x05\x06", b"PAR1PAR1", b"\x1f\x8b\x08", b"")
    return rng.choice(starts) + rng.choice((bytes(18), rng.randbytes(3000)))


def _good_zip(rng: Random) -> bytes:
    return packed(album(rng, **{"__MACOSX/apple/._0.png": b"x", "README.txt": b"fruit"}))


_Maker = Callable[[Random], bytes]
KINDS: Mapping[str, tuple[str, Fate, _Maker]] = {
    "arrays in order": ("npz", "ready", arrays),
    "zip in order": ("images", "ready", _good_zip),
    "table in order": ("parquet", "ready", table),
    "CMYK, 16-bit, palette, animated": ("images", "ready", _odd_images),
    "arrays, cut off": ("npz", "invalid", lambda rng: cut(rng, arrays(rng))),
    "arrays, bits flipped": ("npz", "either", lambda rng: flipped(rng, arrays(rng))),
    "pickles": ("npz", "invalid", _pickled),
    "lying headers": ("npz", "invalid", _lying_header),
    "arrays that unpack to gigabytes": ("npz", "invalid", _npz_bomb),
    "wrong labels": ("npz", "invalid", _bad_labels),
    "wrong images": ("npz", "invalid", _bad_images),
    "one class": ("npz", "invalid", _one_class),
    "zip, cut off": ("images", "invalid", lambda rng: cut(rng, packed(album(rng)))),
    "zip, bits flipped": ("images", "either", lambda rng: flipped(rng, packed(album(rng)))),
    "paths that lead out": ("images", "invalid", _traversal),
    "links and devices": ("images", "invalid", _link),
    "zip bombs": ("images", "invalid", _bomb),
    "zip bombs that lie": ("images", "invalid", _lying_bomb),
    "images of gigapixels": ("images", "invalid", _pixel_bomb),
    "too many broken images": ("images", "invalid", _one_broken),
    "names that collide": ("images", "invalid", _names),
    "names given twice": ("images", "invalid", _twice),
    "encrypted, packed unusually": ("images", "invalid", _flagged),
    "wrong labels.csv": ("images", "invalid", _labels),
    "few images": ("images", "invalid", _few),
    "table, cut off": ("parquet", "invalid", lambda rng: cut(rng, table(rng))),
    "table, bits flipped": ("parquet", "either", lambda rng: flipped(rng, table(rng))),
    "wrong tables": ("parquet", "invalid", _bad_table),
    "no dataset at all": ("images", "invalid", _garbage),
    "another format": ("images", "invalid", arrays),
}
"""By what is wrong: the format, the fate, and how one is made."""


def made(kind: str, seed: int) -> HostileFile:
    """Return the file of a kind and a seed, always the same one."""
    format, fate, make = KINDS[kind]
    content = make(Random(f"{kind} {seed}"))
    return HostileFile(kind=kind, format=format, content=content, fate=fate)
