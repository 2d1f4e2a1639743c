"""Makes the wall clock of a Python process jump: by as many seconds as a file says.

Python runs this by itself where this folder is on PYTHONPATH. It is what a corrected clock looks
like to a program: `time.time` jumps, `time.monotonic` does not.
"""

import os
import time
from pathlib import Path

_FILE = os.environ.get("CHAOS_CLOCK")
_true = time.time
_true_ns = time.time_ns


def _jump() -> float:
    """Return the seconds by which the clock is wrong now."""
    try:
        return float(Path(_FILE or "").read_text())
    except (OSError, ValueError):
        return 0.0


if _FILE:
    time.time = lambda: _true() + _jump()
    time.time_ns = lambda: _true_ns() + int(_jump() * 1e9)
