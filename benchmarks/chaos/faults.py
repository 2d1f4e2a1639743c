"""Everything that the storm does to the service. Each fault says whether it could be done."""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from npas_local.processes import Child
from npas_store import artifacts, blobs, broker
from npas_store.broker import BrokerDownError
from npas_store.database import UNREACHABLE, reading
from npas_store.settings import settings

from benchmarks.chaos.machine import frozen
from benchmarks.chaos.service import LEASE_SECONDS, Service, Target

LASTING_SECONDS = 4.0
_OVER_LEASE_SECONDS = LEASE_SECONDS + 2.0
_JUMPS = (-86_400.0, -3_600.0, -30.0, 30.0, 3_600.0, 86_400.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """What a fault has to work with.

    Attributes:
        service: that is hit.
        target: a claim at the moment of the fault.
        chance: all that is left to chance comes from it.
    """

    service: Service
    target: Target
    chance: random.Random


Fault = Callable[[Strike], bool]


def _signalled(find: Callable[[Strike], int], number: signal.Signals) -> Fault:
    """Return the fault that sends a signal to a process."""

    def strike(made: Strike) -> bool:
        try:
            os.kill(find(made), number)
        except ProcessLookupError:
            return False
        return True

    return strike


def _training(made: Strike) -> int:
    return made.target.training


def _supervisor(made: Strike) -> int:
    return made.target.supervisor


def _worker(made: Strike) -> int:
    return made.target.worker


def _server(name: str) -> Callable[[Strike], int]:
    return lambda made: made.service.servers.children[name].pid


def _api(made: Strike) -> int:
    return made.service.api.pid


def _frozen(*find: Callable[[Strike], int]) -> Fault:
    """Return the fault that has processes stand still for longer than a lease."""

    def strike(made: Strike) -> bool:
        try:
            with contextlib.ExitStack() as stack:
                for each in find:
                    stack.enter_context(frozen(each(made)))
                made.service.live_for(_OVER_LEASE_SECONDS)
        except ProcessLookupError:
            return False
        return True

    return strike


def _lasting(begin: Callable[[Strike], AbstractContextManager[Any]]) -> Fault:
    """Return a fault of the disk, if it is one that can be had."""

    def strike(made: Strike) -> bool:
        if not made.service.disk.is_own:
            return False
        with begin(made):
            made.service.live_for(LASTING_SECONDS)
        return True

    return strike


def _kill_api_in_a_request(made: Strike) -> bool:
    """Kill the API while it makes a job; asked again under its key, there is one job."""
    if not made.service.left:
        return False
    pid = made.service.api.pid
    killer = threading.Timer(made.chance.uniform(0, 0.1), os.kill, (pid, signal.SIGKILL))
    killer.start()
    made.service.submit()
    killer.join()
    return True


def _empty_redis(made: Strike) -> bool:
    del made
    try:
        with broker.client() as server:
            server.flushall()
    except redis.RedisError:  # it is just being started again
        return False
    return True


def _spurious_messages(made: Strike) -> bool:
    try:
        broker.notify(made.chance.randint(2, 6))
    except BrokerDownError:
        return False
    return True


def _damage_resume_files(*, all_of_them: bool) -> Fault:
    """Return the fault that damages what a training would go on from, then kills it."""

    def strike(made: Strike) -> bool:
        folder = settings().jobs / made.target.job.id
        found = sorted(folder.glob("e*/resume/*"), key=lambda file: file.stat().st_mtime_ns)
        chosen = found if all_of_them else found[-1:]
        hit = [_damage(file, made.chance) for file in chosen]
        if not any(hit):
            return False
        return _signalled(_training, signal.SIGKILL)(made)

    return strike


def _damage(file: Path, chance: random.Random) -> bool:
    """Change some bytes of a file in place, or cut it off."""
    try:
        mode = file.stat().st_mode
        file.chmod(0o644)
        with file.open("r+b") as stream:
            size = stream.seek(0, 2)
            if chance.random() < 0.3:
                stream.truncate(size // 2)
            else:
                stream.seek(chance.randrange(size))
                stream.write(bytes(64))
        file.chmod(mode)
    except OSError:  # the training has just replaced it
        return False
    return True


def _hit_blob(hit: Callable[[Path, random.Random], bool]) -> Fault:
    """Return the fault that hits what an earlier job delivered."""

    def strike(made: Strike) -> bool:
        try:
            with reading() as session:
                asked = made.service.methods
                rows = [row for job in asked for row in artifacts.listing(session, job)]
        except UNREACHABLE:
            return False
        if not rows:
            return False
        sha256 = made.chance.choice(rows).sha256
        made.service.hit.add(sha256)
        return hit(blobs.path(sha256), made.chance)

    return strike


def _delete(file: Path, chance: random.Random) -> bool:
    del chance
    is_there = file.exists()
    file.unlink(missing_ok=True)
    return is_there


def _jump(made: Strike) -> bool:
    """Have the clocks of API and workers jump, and jump back."""
    made.service.clock.write_text(str(made.chance.choice(_JUMPS)))
    made.service.live_for(LASTING_SECONDS)
    made.service.clock.unlink()
    return True


def _without_device(made: Strike) -> bool:
    """Put a worker without its device in the place of one."""
    place = made.chance.randrange(len(made.service.workers))
    well = made.service.workers[place]
    sick: Child = made.service.program("npas_worker", "worker-sick", NPAS_DEVICE="cuda:99")
    well.stop()
    made.service.workers[place] = sick
    sick.start()
    made.service.live_for(2 * LASTING_SECONDS)
    sick.stop()
    made.service.workers[place] = well
    well.start()
    return True


def _cancel(made: Strike) -> bool:
    service = made.service
    if 5 * len(service.cancelled) >= len(service.methods):
        return False
    service.cancel(made.target.job.id)
    return True


FAULTS: Mapping[str, Fault] = {
    "kill -9 training": _signalled(_training, signal.SIGKILL),
    "kill -9 supervisor": _signalled(_supervisor, signal.SIGKILL),
    "kill -9 worker": _signalled(_worker, signal.SIGKILL),
    "kill -9 API": _signalled(_api, signal.SIGKILL),
    "kill -9 API in a request": _kill_api_in_a_request,
    "kill -9 Postgres": _signalled(_server("postgres"), signal.SIGKILL),
    "kill -9 Redis": _signalled(_server("redis"), signal.SIGKILL),
    "stop worker": _signalled(_worker, signal.SIGTERM),
    "stop API": _signalled(_api, signal.SIGTERM),
    "stop Postgres": _signalled(_server("postgres"), signal.SIGINT),
    "stop Redis": _signalled(_server("redis"), signal.SIGTERM),
    "freeze training": _frozen(_training),
    "freeze supervisor": _frozen(_supervisor),
    "freeze worker": _frozen(_worker),
    "freeze worker, supervisor and training": _frozen(_worker, _supervisor, _training),
    "freeze Postgres": _frozen(_server("postgres")),
    "freeze Redis": _frozen(_server("redis")),
    "empty Redis": _empty_redis,
    "spurious messages": _spurious_messages,
    "full disk": _lasting(lambda made: made.service.disk.full()),
    "read-only blobs": _lasting(lambda made: made.service.disk.read_only("blobs")),
    "read-only jobs": _lasting(lambda made: made.service.disk.read_only("jobs")),
    "damage newest resume file": _damage_resume_files(all_of_them=False),
    "damage all resume files": _damage_resume_files(all_of_them=True),
    "damage delivered file": _hit_blob(_damage),
    "delete delivered file": _hit_blob(_delete),
    "clock jumps": _jump,
    "worker without its device": _without_device,
    "cancel": _cancel,
}
"""By name, as the table shows them."""
