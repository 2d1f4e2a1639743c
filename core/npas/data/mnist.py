"""MNIST: handwritten digits, 28x28 grey."""

from pathlib import Path

from npas import registry
from npas.data._idx import idx_source


def _fetch(folder: Path) -> None:
    # Slow to import, and only downloads need it.
    registry.imported("torchvision.datasets", extra="vision").MNIST(folder, download=True)


SOURCE = idx_source(
    title="MNIST, handwritten digits, 28x28 grey",
    name="mnist",
    places=("MNIST/raw", "mnist"),  # the first is where torchvision puts it
    fetch=_fetch,
    how="python -m npas.data mnist downloads it (11 MB)",
)
