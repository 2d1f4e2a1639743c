"""The time of a job: over all its attempts, and since it last saved or told something."""

import time

PROGRESS_SECONDS = 0.5
"""Least time between two words on progress."""


class Clock:
    """Starts when it is made.

    Attributes:
        seconds_before: that earlier attempts took.
    """

    def __init__(self, *, checkpoint_seconds: float) -> None:
        """Start.

        Args:
            checkpoint_seconds: least time between resume files; 0: one after each epoch.
        """
        self.seconds_before = 0.0
        self._checkpoint_seconds = checkpoint_seconds
        self._started = self._saved = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """What the job took until now, pauses left out."""
        return self.seconds_before + time.monotonic() - self._started

    def is_time_to_tell(self) -> bool:
        """Return whether to tell of progress; if so, the next time is counted from now."""
        now = time.monotonic()
        if now - self._told < PROGRESS_SECONDS:
            return False
        self._told = now
        return True

    def is_time_to_save(self, *, at_an_end: bool) -> bool:
        """Return whether a resume file is due.

        Args:
            at_an_end: of an epoch or of a training: there, 0 seconds are always over.
        """
        left = time.monotonic() - self._saved >= self._checkpoint_seconds
        return left and (at_an_end or self._checkpoint_seconds > 0)

    def saved(self) -> None:
        """Count the time to the next resume file from now."""
        self._saved = time.monotonic()
