"""The folder that a job writes into."""

import tempfile
from pathlib import Path


def make(folder: Path) -> None:
    """Make a folder, and write into it: who may not hears it now, not after the training.

    Raises:
        OSError: it cannot be made or written into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"npas")
