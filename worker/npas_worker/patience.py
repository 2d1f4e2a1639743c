"""Waiting for Postgres: a training must not fail because the database is away for a while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from npas_store.database import UNREACHABLE

_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 5.0  # seconds

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def patiently(work: Callable[[], Result]) -> Result:
    """Do something with Postgres, as often as it takes until Postgres answers; return its result.

    Args:
        work: one transaction, or several that may be repeated; its last call counts.
    """
    pause = _PAUSE
    while True:
        try:
            return work()
        except UNREACHABLE as error:
            log.warning("Postgres is away, waiting %.1f s: %s", pause, error)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
