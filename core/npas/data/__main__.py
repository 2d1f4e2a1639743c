"""`python -m npas.data [NAME ...]`: download datasets into the data folder, or list them.

`images:NAME` is not downloaded: its images, in the data folder, are checked, and what was found is
printed.
"""

import sys

import npas.data
from npas.data import images, npz
from npas.errors import NpasError


def main(names: list[str] | None = None) -> int:
    """Fetch the names, or list what there is without any.

    Returns:
        the exit status.
    """
    try:
        for name in sys.argv[1:] if names is None else names:
            kind, _, argument = name.partition(":")
            if kind == "images":
                found = images.report(npas.data.default_folder(), argument)
                sys.stdout.write(f"{found.model_dump_json(indent=2)}\n")
                return 0
            npas.data.fetch(name)
    except (NpasError, OSError) as error:  # no disk, no network
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"data folder: {npas.data.default_folder()}\n")
    for row in npas.data.catalogue():
        state = "here" if row["available"] else row["how"]
        sys.stdout.write(f"{row['name']:16} {row['title']}: {state}\n")
    for name, source in (("npz:NAME", npz.SOURCE), ("images:NAME", images.SOURCE)):
        sys.stdout.write(f"{name:16} {source.title}: {source.how}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
