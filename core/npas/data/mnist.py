"""MNIST: handwritten digits, 28x28 grey."""

from pathlib import Path

from npas.data._idx import idx_source


def _fetch(folder: Path) -> None:
    from torchvision import datasets  # slow to import, and only downloads need it

    datasets.MNIST(folder, download=True)


SOURCE = idx_source(
    title="MNIST, handwritten digits, 28x28 grey",
    name="mnist",
    places=("MNIST/raw", "mnist"),  # the first is where torchvision puts it
    fetch=_fetch,
    how="python -m npas.data mnist downloads it (11 MB)",
)
