"""From the pipe that a training writes to, into its log: bounded, and without passwords.

It reads on whatever happens to the log: a training must not wait for a full disk. What a training
wrote before it was killed is in the pipe, and comes through.
"""

import threading
from typing import IO

from npas_store import logs

_CHUNK_BYTES = 64 * 1024
_LINE_BYTES = 256 * 1024
"""A line that is longer is written before it has ended."""


class LogPump:
    """Carries one training's words, in a thread, until there are no more."""

    def __init__(self, source: IO[bytes], log: logs.LogFile) -> None:
        """Begin.

        Args:
            source: the pipe, unbuffered; it is closed in the end.
            log: where to.
        """
        self._source, self._log = source, log
        self._hidden = logs.secrets()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def finish(self, seconds: float = 5.0) -> None:
        """Wait until all is written; not for ever: somebody else may hold the pipe."""
        self._thread.join(seconds)

    def _run(self) -> None:
        rest = b""
        with self._source as source:
            while chunk := source.read(_CHUNK_BYTES):
                whole, newline, rest = (rest + chunk).rpartition(b"\n")
                self._write(whole + newline)
                if len(rest) > _LINE_BYTES:
                    self._write(rest)
                    rest = b""
        self._write(rest)
        self._log.close()

    def _write(self, lines: bytes) -> None:
        if lines:
            self._log.write(logs.masked(lines, self._hidden))
