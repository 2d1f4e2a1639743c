"""What a file in this folder must offer to be a dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from npas.data._arrays import Arrays, Facts
from npas.spec import ImageOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One dataset, as the constant SOURCE of its file. The file name is the dataset's name.

    Attributes:
        title: one line for people.
        facts: data folder and argument -> facts, without reading the images.
        read: data folder and argument -> arrays, always the same ones in the same order.
        present: data folder and argument -> whether `read` would find it.
        listed: data folder -> the arguments there are; None for a dataset without arguments.
        fetch: data folder -> None, downloads it; None if there is nothing to download.
        how: what to do when it is missing.
        crop_padding: default random shift in training, pixels.
        flip: default random left-right flip in training.
        with_options: options -> the same dataset read so; None where images are as they are.

    The argument is what follows the colon in "npz:NAME", "" without one.
    """

    title: str
    facts: Callable[[Path, str], Facts]
    read: Callable[[Path, str], Arrays]
    present: Callable[[Path, str], bool]
    listed: Callable[[Path], list[str]] | None = None
    fetch: Callable[[Path], None] | None = None
    how: str
    crop_padding: int
    flip: bool
    with_options: Callable[[ImageOptions], "Source"] | None = None
