"""Programs that run beneath this one: watched, started again when they die, never left behind.

The kernel ends each of them when the thread that started it ends (PR_SET_PDEATHSIG), so that even
`kill -9` of this process leaves nothing running. Start them from a thread that lives on.
"""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from npas_local.log_size import keep_small

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

_FIRST_PAUSE = 0.2  # seconds
_LONGEST_PAUSE = 10.0  # seconds
_SETTLED = 20.0  # seconds of life after which a death counts as the first one again


class StartError(Exception):
    """A program cannot be started, or ended at once; the message shows its last words."""


def die_with(parent: int, death_signal: int = signal.SIGKILL) -> None:
    """Make the calling process end when the thread that forked it ends.

    Args:
        parent: process id of that thread's process; if it is already gone, end right now.
        death_signal: what the kernel is to send.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def limit(kind: int, most: int) -> None:
    """Set a limit of the calling process, or leave the lower one that it was started with.

    Args:
        kind: of the `resource` module.
        most: for good.
    """
    _, hard = resource.getrlimit(kind)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, allowed))


def limit_own_memory(num_bytes: int) -> None:
    """Bound what the calling process may use beyond what it has now.

    The kernel counts addresses, of which PyTorch takes gigabytes when it is imported.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit(resource.RLIMIT_AS, pages * resource.getpagesize() + num_bytes)


@dataclass(frozen=True, slots=True)
class Program:
    """How a program is run.

    Attributes:
        name: for people.
        command: program and arguments.
        log: file its output is added to, kept small by `tend`; None: it shares ours.
        environment: all of it; None: ours.
        become: called in the new process before the program, to change who it is.
        prepare: called here before every start.
        stop_signal: asks it to end.
        death_signal: what it gets when we die.
        patience_seconds: from the stop signal to SIGKILL.
    """

    name: str
    command: Sequence[str | Path]
    _: KW_ONLY
    log: Path | None = None
    environment: Mapping[str, str] | None = None
    become: Callable[[], None] | None = None
    prepare: Callable[[], None] | None = None
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    patience_seconds: float = 10


class Child:
    """One program that is to run all the time.

    Attributes:
        program: that it is.
    """

    def __init__(self, program: Program) -> None:
        """Take it on; nothing runs yet."""
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._retry_at = 0.0
        self._pause = _FIRST_PAUSE

    @property
    def name(self) -> str:
        """Of the program, for people."""
        return self.program.name

    @property
    def pid(self) -> int:
        """Process id; of the last run, if it is not running."""
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        """Tell whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C in the terminal reaches us, not it."""
        program = self.program
        if program.prepare:
            program.prepare()
        parent = os.getpid()

        def enter() -> None:
            if program.become:
                program.become()
            die_with(parent, program.death_signal)  # last: a change of identity would clear it

        with contextlib.ExitStack() as stack:
            output = None
            if program.log:
                program.log.parent.mkdir(parents=True, exist_ok=True)  # it may have been cleared
                output = stack.enter_context(program.log.open("ab"))
            self._process = subprocess.Popen(
                [str(part) for part in program.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=None if program.environment is None else dict(program.environment),
                start_new_session=True,
                preexec_fn=enter,
            )
        self._started = time.monotonic()

    def tend(self) -> bool:
        """Start it again if it died, a little later each time; return whether that was done."""
        if self.program.log:
            keep_small(self.program.log)
        if self.is_alive():
            return False
        now = time.monotonic()
        if not self._retry_at:
            settled = now - self._started > _SETTLED
            self._pause = _FIRST_PAUSE if settled else min(self._pause * 2, _LONGEST_PAUSE)
            self._retry_at = now + self._pause
        if now < self._retry_at:
            return False
        self._retry_at = 0.0
        self.start()
        return True

    def wait_until(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait for it to be of use.

        Raises:
            StartError: it ended, or took too long.
        """
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not self.is_alive():
                raise StartError(f"{self.name} ended at once:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} is not ready after {seconds:.0f} s")
            time.sleep(0.05)

    def last_words(self, lines: int = 15) -> str:
        """Return the end of its log."""
        if not self.program.log or not self.program.log.exists():
            return "(it has no log)"
        return "\n".join(self.program.log.read_text(errors="replace").splitlines()[-lines:])

    def ask_to_stop(self) -> None:
        """Send the stop signal, if it runs."""
        if self.is_alive():
            assert self._process is not None
            self._process.send_signal(self.program.stop_signal)

    def stop(self) -> None:
        """End it and wait; after its patience, by force."""
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(self.program.patience_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
