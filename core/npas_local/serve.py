"""The whole service in the foreground: `python -m npas_local.serve`, until Ctrl-C.

Servers of its own unless NPAS_DATABASE_URL or NPAS_REDIS_URL name others, then API and workers.
What dies is started again; when this process ends, however it ends, nothing is left running.
"""

import functools
import http.client
import itertools
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from npas.spec import AUTO
from npas_store import broker, homes, migrate
from npas_store.database import UNREACHABLE, forget, why_unreachable
from npas_store.migrate import SchemaError
from npas_store.settings import SettingError, Settings, settings

from npas_local import embedded
from npas_local.lock import HomeInUseError, locked
from npas_local.probing import START_SECONDS, Probe, watch
from npas_local.processes import Child, Program, StartError


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def free_port(found: Settings) -> int:
    """Return the port to listen on; 0 stands for any that is free.

    Raises:
        StartError: someone else listens there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            found.host or None, found.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise StartError(
            f"cannot listen on {found.host}:{found.port} ({error.strerror}); "
            "choose another port (NPAS_PORT) or address (NPAS_HOST)"
        ) from None


def devices(device: str) -> list[str]:
    """Return the GPUs that may be used, as CUDA_VISIBLE_DEVICES names them.

    None where another device is chosen: all workers would share that one.

    Args:
        device: the setting.
    """
    if device not in (AUTO, "cuda"):
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(number) for number in range(len([*Path("/dev").glob("nvidia[0-9]*")]))]
    names = [name.strip() for name in chosen.split(",")]
    # CUDA sees what is listed before the first name that is none.
    return list(itertools.takewhile(lambda name: name and not name.startswith("-"), names))


def programs(found: Settings, environment: dict[str, str]) -> list[Child]:
    """Return API and workers: one worker for each GPU, or one for the CPU.

    Workers share the cores of the machine, unless the number of threads is set.
    """
    logs = found.home / "logs"
    logs.mkdir(exist_ok=True)
    gpus = devices(found.device)
    places = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] if len(gpus) > 1 else [{}]
    shared = {"NPAS_SLOTS": str(found.slots * len(places))}
    api = Child(
        Program(
            "api",
            [sys.executable, "-m", "npas_api"],
            log=logs / "api.log",
            environment=environment,
        )
    )
    names = [f"worker-{number}" for number in range(len(places))] if gpus[1:] else ["worker"]
    workers = [
        Child(
            Program(
                name,
                [sys.executable, "-m", "npas_worker"],
                log=logs / f"{name}.log",
                environment=environment | shared | place,
                patience_seconds=found.grace_seconds + 30,
            )
        )
        for name, place in zip(names, places, strict=True)
    ]
    return [api, *workers]


def _answers(host: str, port: int) -> bool:
    """Return whether the API is alive."""
    return _get(host, port, "/livez") is not None


def _plans(host: str, port: int) -> bool:
    """Return whether the API's planner is ready, too; jobs can be taken without the rest."""
    document = _get(host, port, "/readyz") or {}
    return bool(document.get("checks", {}).get("planner") == "ok")


def _get(host: str, port: int, path: str) -> dict[str, Any] | None:
    """Return the API's answer as JSON, None without one."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def run(found: Settings, stop: threading.Event) -> None:
    """Run everything until `stop` is set.

    Raises:
        HomeInUseError: another process has the folder.
        SettingError: a setting cannot be used, or the folder is another database's.
        StartError: a server or the API does not come up.
        SchemaError: the database belongs to another version.
    """
    own = {"postgres": not found.database_url, "redis": not found.redis_url}
    port = free_port(found)
    with locked(found.home), embedded.running(found.home, **own) as servers:
        os.environ |= {
            "NPAS_HOME": str(found.home),
            "NPAS_PORT": str(port),
            "NPAS_DATABASE_URL": found.database_url or servers.database_url,
            "NPAS_REDIS_URL": found.redis_url or servers.redis_url,
        }
        settings.cache_clear()
        migrate.upgrade()
        homes.settle()
        forget()
        started = programs(found, dict(os.environ))
        probes = _probes(found, port, servers, started[0])
        try:
            for program in started:
                program.start()
            started[0].wait_until(
                lambda: stop.is_set() or _plans(found.host, port), seconds=START_SECONDS
            )
            if not stop.is_set():
                host = f"[{found.host}]" if ":" in found.host else found.host
                _say(f"npas is ready: http://{host}:{port}")
                _say(f"logs: {found.home / 'logs'}    Ctrl-C ends it")
                _say_if_jobs_must_wait()
            watch([*servers.children.values(), *started], probes, stop, _say)
            _say("npas is stopping; a job that runs is saved and goes on after the next start")
        finally:
            for program in started:
                program.ask_to_stop()
            for program in started:
                program.stop()


def _say_if_jobs_must_wait() -> None:
    try:
        broker.waiting()
    except broker.BrokerDownError as error:
        _say(f"{error}\njobs are taken, and wait until it does")


def _probes(found: Settings, port: int, servers: embedded.Servers, api: Child) -> list[Probe]:
    """Return the probes of our servers and the API; of a worker there is none."""
    probes = [
        Probe(child, functools.partial(servers.answers, child.name), found.silent_seconds)
        for child in servers.children.values()
    ]
    answers = functools.partial(_answers, found.host, port)
    return [*probes, Probe(api, answers, found.silent_seconds)]


def main() -> int:
    """Run the service; 0 after Ctrl-C or SIGTERM, 1 when it cannot start."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    _say("npas is starting")
    try:
        run(settings(), stop)
    except (HomeInUseError, StartError, SchemaError, SettingError) as error:
        sys.stderr.write(f"npas: {error}\n")
        return 1
    except UNREACHABLE as error:
        sys.stderr.write(f"npas: {why_unreachable(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
