"""Several processes that serve one address, where one is not enough.

Each listens there by itself, and the kernel spreads connections over them (SO_REUSEPORT). Each has
the planner and the chores that one alone has, but for checks of datasets, which the first does: a
check may take gigabytes. One that dies or falls silent is started again; they end with this
process, however it ends.
"""

import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from npas_local.probing import Probe, watch
from npas_local.processes import Child, Program
from npas_store.settings import settings

from npas_api import background

PRIVATE = "NPAS_API_SOCKET"
"""Environment variable: path of the socket at which one of several is asked how it is."""
INDEX = "NPAS_API_INDEX"
"""Environment variable: which of several it is, from 0."""
_PATIENCE_SECONDS = 8
_ANSWER_SECONDS = 2

log = logging.getLogger(__name__)


class InUseError(Exception):
    """Nobody can listen at the address; the message says why."""


def own_sockets() -> list[socket.socket]:
    """Return what one of several processes listens to: the address of all, and its own socket."""
    private = socket.socket(socket.AF_UNIX)
    private.bind(os.environ[PRIVATE])
    return [*_bound(settings().port, reuse=True), private]


def chores() -> Sequence[Callable[[], background.BackgroundLoop]]:
    """Return what this process does beside serving, whether it is alone or one of several."""
    is_first = os.environ.get(INDEX, "0") == "0"
    return [chore for chore in background.CHORES if is_first or chore != background.checking]


def serve_several(number: int) -> int:
    """Have so many processes serve until SIGINT or SIGTERM; return the exit code.

    Raises:
        InUseError: another program has the address.
    """
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    with _address() as port, tempfile.TemporaryDirectory(prefix="npas-api-") as folder:
        places = [Path(folder) / str(index) for index in range(number)]
        children = [member(index, port, place) for index, place in enumerate(places)]
        probes = [
            Probe(child, functools.partial(_answers, place), settings().silent_seconds)
            for child, place in zip(children, places, strict=True)
        ]
        try:
            for child, probe in zip(children, probes, strict=True):
                child.start()
                probe.started()
            log.info("%d processes serve http://%s:%d", number, settings().host, port)
            watch(children, probes, stop, log.warning)
        finally:
            for child in children:
                child.ask_to_stop()
            for child in children:
                child.stop()
    return 0


def member(index: int, port: int, place: Path) -> Child:
    """Return one of several.

    Args:
        index: which.
        port: of all.
        place: of its own socket.
    """
    own = {"NPAS_PORT": str(port), PRIVATE: str(place), INDEX: str(index)}
    return Child(
        Program(
            f"api-{index}",
            [sys.executable, "-m", "npas_api"],
            environment={**os.environ, **own},
            prepare=functools.partial(place.unlink, missing_ok=True),
            patience_seconds=_PATIENCE_SECONDS,
        )
    )


@contextmanager
def _address() -> Iterator[int]:
    """Make sure that nobody else has the address, and keep it; yields the port.

    Raises:
        InUseError: somebody has.
    """
    try:
        alone = _bound(settings().port, reuse=False)
        port = int(alone[0].getsockname()[1])
        _close(alone)  # with it, nobody could share the address
        kept = _bound(port, reuse=True)  # does not listen, so no connection comes here
    except OSError as error:
        told = f"{settings().host}:{settings().port}"
        raise InUseError(
            f"cannot listen on {told} ({error.strerror}); choose another port (NPAS_PORT) or "
            "address (NPAS_HOST)"
        ) from None
    try:
        yield port
    finally:
        _close(kept)


def _bound(port: int, *, reuse: bool) -> list[socket.socket]:
    """Return sockets for all that the host stands for, all at one port."""
    made: list[socket.socket] = []
    found = socket.getaddrinfo(
        settings().host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with contextlib.ExitStack() as failed:
        failed.callback(_close, made)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            made.append(socket.socket(family, kind, protocol))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse:
                made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made[-1].bind((address[0], port or made[0].getsockname()[1], *address[2:]))
        failed.pop_all()
    return made


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _answers(place: Path) -> bool:
    """Return whether the process that listens there is alive."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(place))
            connection.sendall(
                b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
