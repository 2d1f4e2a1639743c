"""Makes a service of a backup, in a folder that has none: `python -m npas_local.restore FILE`.

NPAS_HOME names the folder, which must be empty. The copy gets an id of its own: neither it nor the
service that the backup was made of can take the other's files for its own. Jobs that ran are taken
up again from what they had saved. Exit code: 0, or 2 where nothing was restored.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from npas_store import homes, migrate
from npas_store.database import UNREACHABLE, why_unreachable
from npas_store.migrate import SchemaError
from npas_store.settings import SettingError, Settings, settings

from npas_local import archive, embedded
from npas_local.environment import environment
from npas_local.lock import RESTORING, HomeInUseError, locked
from npas_local.processes import StartError

_PARTS = ("blobs", "jobs", "uploads", "postgres")


class RestoreError(Exception):
    """Nothing was restored; the message says why."""


def restore(source: Path, found: Settings) -> int:
    """Restore a backup into the home, and return how many files there are.

    All is put together aside, in the home, and gets its names in the end. Cut off before, it can
    be done again, and the service refuses to run there meanwhile.

    Raises:
        RestoreError: the home has something in it, or the file is no whole backup.
        StartError: the database does not come up.
        SchemaError: the backup is of a later version.
    """
    if found.database_url:
        raise RestoreError(
            "a backup is restored into a database of its own: unset NPAS_DATABASE_URL. "
            f"For a server of yours, {archive.DUMP} in the archive is for pg_restore"
        )
    with locked(found.home, is_restore=True):
        aside = _cleared(found.home)
        try:
            with source.open("rb") as file:
                num_files = len(archive.unpack(file, aside))
        except (archive.ArchiveError, OSError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise RestoreError(f"{source} cannot be restored: {error}") from error
        _fill(aside, found)
        for part in _PARTS:
            if (aside / part).exists():
                (aside / part).rename(found.home / part)
        shutil.rmtree(aside)
        return num_files


def _cleared(home: Path) -> Path:
    """Return the folder to work in, in a home that is empty but for what a restore left.

    Raises:
        RestoreError: there is something else.
    """
    aside = home / RESTORING
    others = [path for path in home.iterdir() if path.name not in ("lock", RESTORING)]
    if others and not aside.exists():
        raise RestoreError(
            f"{home} is not empty: it has {', '.join(sorted(path.name for path in others)[:5])}; "
            "choose another folder (NPAS_HOME)"
        )
    for path in (*others, aside):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    aside.mkdir()
    return aside


def _fill(aside: Path, found: Settings) -> None:
    """Make a database of the dump, of this version, joined to the home."""
    with (
        embedded.running(aside, redis=False) as servers,
        environment(NPAS_DATABASE_URL=servers.database_url, NPAS_HOME=str(found.home)),
    ):
        command: list[str | Path] = [
            embedded.binaries() / "pg_restore",
            f"--dbname={servers.database_url}",
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            "--single-transaction",
            aside / archive.DUMP,
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RestoreError(f"the dump cannot be restored: {ended.stderr.strip()}")
        migrate.upgrade()
        homes.settle()


def main() -> int:
    """Restore the backup that the argument names into the home."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: npas restore FILE\n")
        return 2
    try:
        found = settings()
        num_files = restore(Path(sys.argv[1]), found)
    except (RestoreError, HomeInUseError, StartError, SchemaError, SettingError) as error:
        sys.stderr.write(f"npas: {error}\n")
        return 2
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
        return 2
    told = f"restored {num_files} files; NPAS_HOME={found.home} npas serve runs it"
    sys.stdout.write(f"npas: {told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
