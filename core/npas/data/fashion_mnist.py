"""Fashion-MNIST: pictures of clothes, 28x28 grey."""

from pathlib import Path

from npas import registry
from npas.data._idx import idx_source


def _fetch(folder: Path) -> None:
    # Slow to import, and only downloads need it.
    registry.imported("torchvision.datasets", extra="vision").FashionMNIST(folder, download=True)


SOURCE = idx_source(
    title="Fashion-MNIST, clothes, 28x28 grey",
    name="fashion-mnist",
    places=("FashionMNIST/raw", "fashion-mnist", "/usr/share/datasets/fashion-mnist"),
    fetch=_fetch,
    how=(
        "python -m npas.data fashion-mnist downloads it (30 MB); "
        "Debian's package dataset-fashion-mnist is found too"
    ),
)
