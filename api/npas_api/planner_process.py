"""Answers what needs the library: `python -m npas_api.planner_process FD`, started by the API.

It imports everything once, plans something small, and says that it is ready. From then on each
question comes as a socket, and a fork answers it: what a plan costs, in memory and in time, ends
with its fork, and a fork ends when the other end of its socket is closed.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from npas import admission, arch, data, methods, planner
from npas.errors import InfeasibleBudgetError, NpasError
from npas.spec import JobSpec, PlanRequest

from npas_api.messages import LENGTH_BYTES, framed, num_bytes

Answer = dict[str, Any]

_SMALL = {"architecture": "resnet-8", "budget": {"fraction": 0.5}, "dataset": "digits"}


def _plan(asked: Mapping[str, Any], folder: Path | None) -> str:
    request = PlanRequest.model_validate_json(asked["request"])
    return planner.plan(request, data_folder=folder).to_json()


def _job(asked: Mapping[str, Any], folder: Path | None) -> str:
    spec = JobSpec.model_validate_json(asked["request"])
    request = spec.model_dump_json(include=set(PlanRequest.model_fields))
    planned = _plan({"request": request}, folder)
    admission.admit(spec, folder, memory_bytes=asked["memory_bytes"])
    return planned


def _datasets(asked: Mapping[str, Any], folder: Path | None) -> list[dict[str, Any]]:
    del asked
    return data.catalogue(folder)


QUESTIONS: Mapping[str, Callable[[Mapping[str, Any], Path | None], Any]] = {
    "plan": _plan,
    "job": _job,
    "datasets": _datasets,
}
"""By name: what is asked, and the folder of the datasets, to what is answered."""


def answer(asked: Mapping[str, Any]) -> Answer:
    """Return the answer to a question: `found`, `refused`, `exceeded`, or `failed`."""
    folder = Path(asked["folder"]) if asked["folder"] else None
    try:
        return {"found": QUESTIONS[asked["question"]](asked, folder)}
    except NpasError as error:
        members = {}
        if isinstance(error, InfeasibleBudgetError):
            members = {
                "method": error.method,
                "budget": error.budget,
                "minimum": error.minimum,
                "alternatives": error.alternatives,
            }
        told = {"code": error.code, "message": error.message, "field": error.field}
        return {"refused": told, "members": members, "trace": traceback.format_exc()}
    except MemoryError:
        return {"exceeded": "memory"}
    except Exception:
        return {"failed": traceback.format_exc()}


def main() -> int:
    """Serve until the API closes its end."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    small = PlanRequest.model_validate(_SMALL)
    planner.plan(small).to_json()
    ready = {"architectures": arch.catalogue(), "methods": methods.catalogue()}
    control.sendall(framed(ready))
    gc.freeze()  # forks share what is never looked at
    while True:
        _, received, _, _ = socket.recv_fds(control, 1, 1)
        if not received:
            return 0
        if os.fork() == 0:
            control.close()
            _serve(socket.socket(fileno=received[0]))
        os.close(received[0])


def _serve(connection: socket.socket) -> None:
    """Answer one question, then end, in a fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    with contextlib.suppress(OSError):  # the API no longer wants to know
        asked = json.loads(_receive(connection))
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        _limit(asked["seconds"], asked["megabytes"])
        connection.sendall(framed(answer(asked)))
        code = 0
    os._exit(code)


def _end_with(connection: socket.socket) -> None:
    """End the process when the other end is closed: nobody waits for the answer any more."""
    connection.recv(1)
    os._exit(1)


def _limit(seconds: int, megabytes: int) -> None:
    """Bound what this process may use beyond what it was forked with."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # The API counts the time; this is for code that lets no other thread run meanwhile.
    resource.setrlimit(resource.RLIMIT_CPU, (2 * seconds, 2 * seconds))


def _receive(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.read(num_bytes(stream.read(LENGTH_BYTES)))


if __name__ == "__main__":
    sys.exit(main())
