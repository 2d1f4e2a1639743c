"""How much an import may read and make; whatever a file says, no more is taken."""

from dataclasses import dataclass

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportLimits:
    """Bounds of one import. The memory it needs is about `max_array_bytes` and a few files.

    Attributes:
        max_files: images, or entries of an archive.
        max_file_bytes: of one image, and of a table of labels.
        max_unpacked_bytes: of all entries of an archive, or of all columns of Parquet.
        max_ratio: of an entry's bytes to what it takes in the archive, above 1 MiB.
        max_image_pixels: of one image, before it is resized.
        max_total_pixels: of all images, before they are resized.
        max_array_bytes: of the images as they are kept, one byte a pixel and channel; of an .npz
            file, of its images as they are stored.
        max_classes: classes.
    """

    max_files: int = 200_000
    max_file_bytes: int = 64 * MIB
    max_unpacked_bytes: int = 32 * GIB
    max_ratio: int = 200
    max_image_pixels: int = 50_000_000
    max_total_pixels: int = 400_000_000_000
    max_array_bytes: int = 4 * GIB
    max_classes: int = 10_000


def shown_bytes(count: int) -> str:
    """Return a number of bytes for people."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
