"""Keeps the logs of programs small, while they write to them."""

import contextlib
import os
import shutil
from pathlib import Path

MOST_BYTES = 10 * 2**20
"""The end of a log that is larger becomes the older one, which lies beside it; the rest goes."""


def older(log: Path) -> Path:
    """Return where what was said before is kept."""
    return log.with_name(f"{log.name}.1")


def keep_small(log: Path, most_bytes: int = MOST_BYTES) -> bool:
    """Move the last bytes of a log that is too large into the older one; return whether it was.

    The file itself stays, because programs have it open, to append to it. What they say between
    the copy and the cut is lost. Where there is no room for a copy, nothing is written and the
    older one goes.
    """
    draft = log.with_name(f".{log.name}.draft")
    try:
        size = log.stat().st_size
        if size <= most_bytes:
            return False
        if shutil.disk_usage(log.parent).free < 2 * most_bytes:
            older(log).unlink(missing_ok=True)
            return False
        with log.open("rb") as said, draft.open("wb") as kept:
            said.seek(size - most_bytes)
            shutil.copyfileobj(said, kept)
        draft.replace(older(log))
        os.truncate(log, 0)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True
