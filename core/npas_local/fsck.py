"""Compares rows with files, both ways: `python -m npas_local.fsck [--repair]`, `npas fsck`.

As `npas_store.fsck`, which it runs, on the database of the home, whether its service runs or not;
one that NPAS_DATABASE_URL does not name is started for so long.

Every byte is read. --repair deletes what nobody needs and marks what is missing. Exit code:
0 nothing is wrong, or all of it is repaired; 1 something is; 2 it could not be looked at.
"""

import sys

from npas_store import fsck
from npas_store.database import UNREACHABLE, why_unreachable
from npas_store.migrate import SchemaError
from npas_store.settings import SettingError, settings

from npas_local.attachment import attached
from npas_local.processes import StartError


def main() -> int:
    """Look at all rows and files of the home's service; return the exit code."""
    try:
        with attached(settings()):
            return fsck.main()
    except (StartError, SchemaError, SettingError) as error:
        sys.stderr.write(f"npas: {error}\n")
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
