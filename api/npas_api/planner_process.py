"""Answers what needs the library: `python -m npas_api.planner_process FD`, started by the API.

It imports everything once, plans something small, and says that it is ready. From then on each
question comes as a socket, and a fork answers it: what a plan costs, in memory and in time, ends
with its fork, and a fork ends when the other end of its socket is closed. A fork that meets a
limit says so itself: the API takes every other end for a fault that was not the request's.
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
from types import FrameType
from typing import Any

from npas import arch, data, methods
from npas.delivery import exporting, frontier_picture
from npas.errors import InfeasibleBudgetError, NpasError
from npas.jobs import admission, continuation
from npas.jobs.weighing import weigh
from npas.planning import offers, planner
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.spec import JobSpec, PlanRequest
from npas.spec.export import ExportSpec
from npas_local.processes import limit, limit_own_memory

from npas_api.messages import HELLO, LENGTH_BYTES, framed, num_bytes

Answer = dict[str, Any]

_SMALL = {"architecture": "resnet-8", "budget": {"fraction": 0.5}, "dataset": "digits"}


def _plan(asked: Mapping[str, Any], folder: Path | None) -> str:
    request = PlanRequest.model_validate_json(asked["request"])
    return planner.plan(request, data_folder=folder).to_json()


def _job(asked: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    spec = JobSpec.model_validate_json(asked["request"])
    start = Path(asked["start"]) if asked["start"] else None
    plan = admission.admit(spec, folder, memory_bytes=asked["memory_bytes"], start=start)
    return {"plan": plan.to_json(), "work": weigh(spec, plan, folder).as_json()}


def _weight(asked: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    spec = JobSpec.model_validate_json(asked["request"])
    if asked["start"]:  # whose networks the job's join
        problem = PlanningProblem.of(spec, data.facts(spec.dataset, folder))
        plan = continuation.planned(Path(asked["start"]), spec, problem)
        assert plan is not None
    else:
        plan = planner.plan(spec, data_folder=folder)
    return {"plan": plan.to_json(), "work": weigh(spec, plan, folder).as_json()}


def _offered(asked: Mapping[str, Any], folder: Path | None) -> list[dict[str, Any]]:
    request = PlanRequest.model_validate_json(asked["request"])
    return [offer.as_json() for offer in offers.offered(request, data_folder=folder)]


def _frontier(asked: Mapping[str, Any], folder: Path | None) -> str:
    del folder
    return frontier_picture.frontier_svg(**json.loads(asked["request"]))


def _export(asked: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    del folder
    question = json.loads(asked["request"])
    plan = Plan.from_json(question["plan"])
    spec = exporting.check(ExportSpec.model_validate(question["spec"]), plan)
    return {"to": spec.to, "keeps_sharing": exporting.keeps_sharing(spec, plan)}


def _datasets(asked: Mapping[str, Any], folder: Path | None) -> list[dict[str, Any]]:
    del asked
    return data.catalogue(folder)


QUESTIONS: Mapping[str, Callable[[Mapping[str, Any], Path | None], Any]] = {
    "plan": _plan,
    "job": _job,
    "weight": _weight,
    "offered": _offered,
    "datasets": _datasets,
    "frontier": _frontier,
    "export": _export,
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
                "unit": error.unit,
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
    small = JobSpec.model_validate(_SMALL)
    weigh(small, planner.plan(small))  # what a first forward pass imports takes seconds
    ready = {
        "architectures": arch.catalogue(),
        "methods": methods.catalogue(),
        "folder": str(data.default_folder()),
    }
    control.sendall(framed(ready))
    gc.freeze()  # forks share what is never looked at
    while True:
        asked, received, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            return 0
        if asked == HELLO:
            control.sendall(HELLO)
        for number in received:  # none, where this process may have no more files
            if os.fork() == 0:
                control.close()
                _serve(socket.socket(fileno=number))
            os.close(number)


def _serve(connection: socket.socket) -> None:
    """Answer one question, then end, in a fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # the API no longer wants to know
        if content := _receive(connection):
            asked = json.loads(content)
            threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
            _limit_time(connection, asked["seconds"])
            limit_own_memory(asked["megabytes"] * 1024 * 1024)
            told = _told(asked)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.sendall(told)
    os._exit(0)


def _told(asked: Mapping[str, Any]) -> bytes:
    """Return the answer to a question as it is sent."""
    try:
        return framed(answer(asked))
    except MemoryError:
        return framed({"exceeded": "memory"})


def _end_with(connection: socket.socket) -> None:
    """End the process when the other end is closed: nobody waits for the answer any more."""
    connection.recv(1)
    os._exit(1)


def _limit_time(connection: socket.socket, seconds: int) -> None:
    """Have the API told when a plan takes too long, and end this process."""
    told = framed({"exceeded": "time"})  # now: there may be no memory for it then

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        with contextlib.suppress(OSError):
            connection.sendall(told)
        os._exit(0)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # For code that lets no Python run meanwhile: the API gives it up, and then it must end.
    limit(resource.RLIMIT_CPU, 2 * seconds)


def _receive(connection: socket.socket) -> bytes:
    """Return a message; nothing where the other end closed before it was all sent."""
    with connection.makefile("rb") as stream:
        length = num_bytes(stream.read(LENGTH_BYTES))
        content = stream.read(length)
    return content if len(content) == length else b""


if __name__ == "__main__":
    sys.exit(main())
