"""The process that reads what a user sent: `python -m npas_local.check_process ORDER`.

It is started by `checking` with limits, next to no environment, and a folder of its own. It knows
no database and no service: what it finds is what it leaves in that folder.
"""

import errno
import hashlib
import json
import shutil
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONTENT, THUMBNAILS, ANSWER = "content", "thumbnails.png", "answer.json"
"""What it leaves: the arrays or the weights, a picture of arrays, and what is said of them."""

WEIGHTS = "weights"
"""The format of uploads that are no datasets: what trained networks hold."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

Answer = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Check the file that an order names and write the answer; 0, whatever it is.

    Args:
        arguments: JSON: source, folder, format, options, sha256 (or null), array_bytes.
    """
    order = json.loads(arguments[0])
    folder = Path(order["folder"])
    answer = json.dumps(_answer(order, folder))
    draft = folder / f"{ANSWER}.draft"
    draft.write_text(answer)
    draft.rename(folder / ANSWER)
    return 0


def _answer(order: Mapping[str, Any], folder: Path) -> Answer:
    """Return what is to be said: `found`, `refused`, `exceeded`, `full` or `failed`."""
    try:
        if wrong := _wrong_bytes(Path(order["source"]), order["sha256"]):
            return {"refused": {"message": wrong, "field": "/sha256"}}
        return (_weights if order["format"] == WEIGHTS else _imported)(order, folder)
    except MemoryError:
        return {"exceeded": "memory"}
    except OSError as error:
        if error.errno == errno.EFBIG:
            return {"exceeded": "size"}
        return {"full": True} if error.errno in _FULL else {"failed": traceback.format_exc()}
    except Exception:  # whatever a decoder raises over bytes that nobody foresaw
        return {"failed": traceback.format_exc()}


def _wrong_bytes(source: Path, sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == sha256:
        return None
    return f"the bytes that arrived have the sha256 {found}, not {sha256} as was announced"


def _imported(order: Mapping[str, Any], folder: Path) -> Answer:
    from npas.data import ImportLimits, import_dataset
    from npas.errors import DataError
    from npas.spec import ImageOptions

    try:
        report = import_dataset(
            Path(order["source"]),
            folder / CONTENT,
            format=order["format"],
            options=ImageOptions.model_validate(order["options"]),
            limits=ImportLimits(max_array_bytes=order["array_bytes"]),
            thumbnails=folder / THUMBNAILS,
        )
    except DataError as error:
        return {"refused": {"message": error.message, "field": error.field}}
    return {"found": report.model_dump(mode="json")}


def _weights(order: Mapping[str, Any], folder: Path) -> Answer:
    """Check a file of weights, which stays as it is: its bytes are what jobs name."""
    from npas.errors import StartError
    from npas.sharing.weights_header import check_numbers, read_header

    source = Path(order["source"])
    try:
        header = read_header(source)
        check_numbers(source, header)
    except StartError as error:
        return {"refused": {"message": error.message, "field": ""}}
    shutil.copyfile(source, folder / CONTENT)
    tensors = {name: [each.dtype, list(each.shape)] for name, each in header.tensors.items()}
    facts = {
        "num_tensors": len(tensors),
        "num_scalars": header.num_scalars,
        "dtypes": sorted({each.dtype for each in header.tensors.values()}),
    }
    return {"found": {"facts": facts, "tensors": tensors}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
