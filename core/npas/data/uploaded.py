"""What users sent to a service: "uploaded:ID" is ID.npz in the folder NPAS_UPLOADED_FOLDER.

The service checks the arrays, writes them there and sets that variable; without it, the folder is
"uploaded" in the data folder.
"""

import os
import re
from pathlib import Path

from npas.data._arrays import Arrays, Facts
from npas.data._npz import read_npz, read_npz_facts
from npas.data._source import Source
from npas.errors import DataError

FOLDER = "NPAS_UPLOADED_FOLDER"
_ID = re.compile(r"ds_[0-9a-f]{32}")
_HOW = "POST /v1/datasets sends images to a service, whose jobs can name them"


def _place(folder: Path, dataset_id: str) -> Path:
    given = os.environ.get(FOLDER)
    return (Path(given) if given else folder / "uploaded") / f"{dataset_id}.npz"


def _present(folder: Path, dataset_id: str) -> bool:
    return _ID.fullmatch(dataset_id) is not None and _place(folder, dataset_id).is_file()


def _path(folder: Path, dataset_id: str) -> Path:
    """Return the file of an id; ids come from clients, so they are never paths."""
    if not _present(folder, dataset_id):
        raise DataError(
            f"dataset uploaded:{dataset_id} is not here: it was deleted, or sent to another "
            f"service; {_HOW}",
            field="/dataset",
        )
    return _place(folder, dataset_id)


def _read(folder: Path, dataset_id: str) -> Arrays:
    return read_npz(_path(folder, dataset_id))


def _facts(folder: Path, dataset_id: str) -> Facts:
    return read_npz_facts(_path(folder, dataset_id))


SOURCE = Source(
    title="Images that a user sent to the service",
    facts=_facts,
    read=_read,
    present=_present,
    listed=lambda _folder: [],  # the service lists them, with their names
    how=_HOW,
    crop_padding=0,  # nothing is known of the images, so nothing is done to them
    flip=False,
)
