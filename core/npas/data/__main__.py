"""`python -m npas.data [NAME ...]`: download datasets into the data folder, or list them.

`images:NAME` is not downloaded: its images, in the data folder, are checked, and what was found is
printed.
"""

import sys

import npas.data
from npas.data import images, npz
from npas.errors import NpasError

_IMAGES = "images:"


def main(names: list[str] | None = None) -> int:
    """Fetch the names, or list what there is without any.

    Returns:
        the exit status.
    """
    try:
        given = sys.argv[1:] if names is None else names
        for name in given:
            _bring(name)
    except (NpasError, OSError) as error:  # no disk, no network
        sys.stderr.write(f"{error}\n")
        return 1
    if any(name.startswith(_IMAGES) for name in given):
        return 0
    sys.stdout.write(f"data folder: {npas.data.default_folder()}\n")
    for row in npas.data.catalogue():
        state = "here" if row["available"] else row["how"]
        sys.stdout.write(f"{row['name']:16} {row['title']}: {state}\n")
    for name, source in (("npz:NAME", npz.SOURCE), ("images:NAME", images.SOURCE)):
        sys.stdout.write(f"{name:16} {source.title}: {source.how}\n")
    return 0


def _bring(name: str) -> None:
    """Download a dataset; of images, print what is found in them."""
    if not name.startswith(_IMAGES):
        npas.data.fetch(name)
        return
    found = images.report(npas.data.default_folder(), name.removeprefix(_IMAGES))
    sys.stdout.write(f"{found.model_dump_json(indent=2)}\n")


if __name__ == "__main__":
    sys.exit(main())
