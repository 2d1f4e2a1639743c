"""Keeps the logs of programs small, while they write to them."""

import contextlib
import os
import shutil
from pathlib import Path

MOST_BYTES = 10 * 2**20
"""A log that is larger becomes the older one, which lies beside it; the one before that goes."""


def older(log: Path) -> Path:
    """Return where what was said before is kept."""
    return log.with_name(f"{log.name}.1")


def keep_small(log: Path, most_bytes: int = MOST_BYTES) -> bool:
    """Move what a log holds into the older one, if it is too much; return whether it was.

    The file itself stays, because programs have it open, to append to it. What they say between
    the copy and the cut is lost. Where the copy cannot be written, everything stays as it is.
    """
    draft = log.with_name(f".{log.name}.draft")
    try:
        if log.stat().st_size <= most_bytes:
            return False
        shutil.copyfile(log, draft)
        draft.replace(older(log))
        os.truncate(log, 0)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True
