"""The process that writes an export: `python -m npas_local.export_process ORDER`.

It is started by `exporting` with limits and a folder of its own; its memory it bounds itself. It
knows no database and no service: what it makes is what it leaves in that folder.
"""

import errno
import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npas_local.processes import limit_own_memory

PRODUCT, ANSWER = "product", "answer.json"
"""What it leaves: the file, and what is said of it."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

Answer = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Write the file that an order asks for and the answer; 0, whatever it is.

    Args:
        arguments: JSON: source, folder, spec, memory_bytes.
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
    from npas.errors import NpasError
    from npas.torch_internals import lacks_memory

    try:
        return _exported(order, folder)
    except NpasError as error:
        return {"refused": {"message": error.message, "code": error.code, "field": error.field}}
    except MemoryError:
        return {"exceeded": "memory"}
    except OSError as error:
        if error.errno == errno.EFBIG:
            return {"exceeded": "memory"}
        return {"full": True} if error.errno in _FULL else {"failed": traceback.format_exc()}
    except Exception as error:  # whatever an exporter raises over networks that nobody foresaw
        if lacks_memory(error):
            return {"exceeded": "memory"}
        return {"failed": traceback.format_exc()}


def _exported(order: Mapping[str, Any], folder: Path) -> Answer:
    import torch
    from npas.delivery.checkpoint import load
    from npas.delivery.exporting import artifact_name, export
    from npas.spec.export import ExportSpec

    torch.set_num_threads(1)
    spec = ExportSpec.model_validate(order["spec"])
    # What exporters import first is no network's memory; without it they go astray.
    export(torch.nn.Linear(1, 1), folder / PRODUCT, spec.to, example=torch.zeros(2, 1))
    limit_own_memory(order["memory_bytes"])
    options = {name: value for name, value in order["spec"].items() if name != "to"}
    done = export(load(order["source"]), folder / PRODUCT, spec.to, **options)
    facts = {
        "file_bytes": done.file_bytes,
        "unique_bytes": done.unique_bytes,
        "max_difference": done.max_difference,
        "keeps_sharing": done.keeps_sharing,
    }
    return {"found": {"name": artifact_name(spec), "facts": facts}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
