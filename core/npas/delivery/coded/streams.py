"""Bytes in fewer bytes, by brotli, and back, never into more than was announced."""

from typing import Any

from npas import registry
from npas.errors import CheckpointError

EXTRA = "bytes"
"""The extra of npas that brings brotli."""

_QUALITY = 11
"""The highest: within 1 to 2 % of the entropy of rounded weights."""


def packed(content: bytes) -> bytes:
    """Return bytes coded.

    Raises:
        MissingPackageError: brotli is not installed.
    """
    return bytes(_brotli().compress(content, quality=_QUALITY))


def unpacked(content: bytes, *, most: int) -> bytes:
    """Return what was coded; a stream that goes on after `most` bytes is given up there.

    Args:
        content: from `packed`, or from a file of anybody.
        most: bytes that may come of it.

    Raises:
        CheckpointError: it is damaged, or longer.
        MissingPackageError: brotli is not installed.
    """
    brotli = _brotli()
    decoder = brotli.Decompressor()
    try:
        found = bytearray(decoder.process(content, output_buffer_limit=most + 1))
        while not decoder.is_finished() and len(found) <= most:
            more = decoder.process(b"", output_buffer_limit=most + 1 - len(found))
            if not more:
                raise CheckpointError("a stream of it ends too early: the file is cut off")
            found += more
    except brotli.error as error:
        raise CheckpointError(f"a stream of it is damaged: {error}") from error
    if len(found) > most:
        raise CheckpointError(f"a stream of it holds more than the {most:,} bytes it should")
    return bytes(found)


def _brotli() -> Any:
    return registry.imported("brotli", extra=EXTRA)
