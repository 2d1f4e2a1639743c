"""Writes a backup of a service, also while it runs: `python -m npas_local.backup FILE`.

One file: the database as it was at one moment, what jobs delivered and can go on from, and their
logs. `npas restore FILE` makes a service of it again. Exit code: 0, or 2 where none was made.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import npas
from npas_store import snapshot
from npas_store.database import UNREACHABLE, why_unreachable
from npas_store.migrate import SchemaError
from npas_store.settings import SettingError, Settings, settings
from sqlalchemy.engine import URL, make_url

from npas_local import archive, embedded
from npas_local.attachment import attached
from npas_local.processes import StartError


class BackupError(Exception):
    """No backup was made; the message says why."""


def back_up(target: Path, found: Settings) -> Sequence[str]:
    """Write a backup, and return what rows name and is not there.

    Raises:
        BackupError: the file is there, or cannot be written; or the database cannot be dumped.
    """
    if target.exists():
        raise BackupError(f"{target} is there already; choose another name, or remove it")
    draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    staging = found.home / f"{snapshot.STAGING}{secrets.token_hex(4)}"
    try:
        staging.mkdir(parents=True)
        with snapshot.taken(staging) as moment:
            _dump(moment.name, staging / archive.DUMP)
        with draft.open("xb") as file:
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            archive.write(staging, file, {"npas": npas.__version__, "made_at": made_at})
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)
    except OSError as error:
        raise BackupError(f"no backup was made: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
    return moment.missing


def _dump(moment: str, target: Path) -> None:
    """Dump the database as it was at a moment, without the row that says which home is its own."""
    url = make_url(settings().database_url or "")
    address = URL.create(
        "postgresql",
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.query,
    )
    command: list[str | Path] = [
        embedded.binaries() / "pg_dump",
        f"--dbname={address.render_as_string(hide_password=False)}",
        f"--snapshot={moment}",
        "--format=custom",
        "--no-owner",
        "--no-privileges",
        "--exclude-table-data=home",
        f"--file={target}",
    ]
    secret = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    environment = {**os.environ, **secret}  # all users of the machine see arguments
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BackupError(f"the database cannot be dumped: {ended.stderr.strip()}")


def main() -> int:
    """Back up the home's service into the file that the argument names."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: npas backup FILE\n")
        return 2
    target = Path(sys.argv[1])
    try:
        found = settings()
        with attached(found):
            missing = back_up(target, found)
    except (BackupError, StartError, SchemaError, SettingError) as error:
        sys.stderr.write(f"npas: {error}\n")
        return 2
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
        return 2
    for name in missing:
        sys.stderr.write(f"npas: {name} is missing, and not in the backup; see npas fsck\n")
    sys.stdout.write(f"npas: {target} has {target.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
