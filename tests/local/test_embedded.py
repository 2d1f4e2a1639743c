"""Servers from wheels: they keep their data, come back, and never outlive whoever started them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
import redis
from npas_local import embedded, privileges
from npas_local.processes import Child, Program, StartError

OWNER = """
import sys, time
from pathlib import Path
from npas_local import embedded
with embedded.running(Path(sys.argv[1])) as servers:
    print(*(child.pid for child in servers.children.values()), flush=True)
    time.sleep(600)
"""


def wait_until(holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def execute(servers, query):
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        return connection.execute(query)


def answers(servers):
    try:
        execute(servers, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def test_data_is_there_after_a_restart(home):
    with embedded.running(home) as servers:
        execute(servers, "DROP TABLE IF EXISTS kept")
        execute(servers, "CREATE TABLE kept AS SELECT 7 AS n")
        with redis.Redis.from_url(servers.redis_url) as server:
            server.set("kept", 7)
    with embedded.running(home) as servers:
        with psycopg.connect(servers.database_url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
        with redis.Redis.from_url(servers.redis_url) as server:
            assert server.get("kept") == b"7"


def test_servers_open_no_port_and_their_folder_is_private(home):
    with embedded.running(home) as servers, psycopg.connect(servers.database_url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        sockets = (home / "sockets").readlink()
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert len(str(sockets / "redis.sock")) < 100
    assert not sockets.exists()


def test_postgres_comes_back_after_kill_with_a_client_at_work(home):
    with embedded.running(home, redis=False) as servers:
        with psycopg.connect(servers.database_url) as busy:
            work = threading.Thread(target=sleep_in_postgres, args=(busy,))
            work.start()
            wait_until(lambda: is_busy(servers))
            os.kill(servers.children["postgres"].pid, signal.SIGKILL)
            work.join()
        wait_until(lambda: servers.children["postgres"].tend() or answers(servers))
        wait_until(lambda: answers(servers))


def sleep_in_postgres(connection):
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT pg_sleep(60)")


def is_busy(servers):
    query = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    return execute(servers, query).fetchone()[0] == 1


def test_servers_die_with_their_owner_and_start_again(home):
    command = [sys.executable, "-c", OWNER, home]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in owner.stdout.readline().split()]
    cluster = home / "postgres" / "cluster"
    assert len(pids) == 2
    owner.kill()
    owner.communicate()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    wait_until(lambda: not embedded._processes_in(cluster))
    with embedded.running(home) as servers:
        assert answers(servers)


def test_pid_file_that_names_a_stranger_is_no_obstacle(home):
    cluster = home / "postgres" / "cluster"
    lines = [os.getppid(), cluster, 1, 5432, "/tmp", "", "1 1", "ready", ""]
    (cluster / "postmaster.pid").write_text("\n".join(map(str, lines)))
    with embedded.running(home, redis=False) as servers:
        assert answers(servers)


def test_damaged_data_of_redis_are_put_aside(tmp_path):
    with (
        embedded.running(tmp_path, postgres=False) as servers,
        redis.Redis.from_url(servers.redis_url) as server,
    ):
        server.set("kept", 7)
    (log,) = (path for path in (tmp_path / "redis").rglob("*.aof") if path.stat().st_size)
    log.write_bytes(b"no command" + log.read_bytes())
    with (
        embedded.running(tmp_path, postgres=False) as servers,
        redis.Redis.from_url(servers.redis_url) as server,
    ):
        assert server.get("kept") is None
        server.set("kept", 8)
    assert (tmp_path / "redis.damaged").is_dir()


def test_half_made_cluster_is_made_anew(tmp_path):
    (tmp_path / "postgres" / "draft").mkdir(parents=True)
    (tmp_path / "postgres" / "draft" / "PG_VERSION").write_text("18")
    with embedded.running(tmp_path, redis=False) as servers:
        assert answers(servers)


def test_servers_do_not_run_as_root(tmp_path):
    become = privileges.unprivileged(Path("/usr/bin/id"), tmp_path)
    command = ["id", "-u"]
    told = subprocess.run(command, preexec_fn=become, capture_output=True, text=True, check=True)
    assert int(told.stdout) != 0


@pytest.mark.parametrize("program", ["/no/such/program", "/usr/bin/true"])
def test_demoted_refuses_what_nobody_may_not_use(tmp_path, program):
    tmp_path.chmod(0o700)
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises((StartError, PermissionError)):  # the latter when not root
        privileges.demoted(Path(program), folder)


def test_child_is_started_again_after_it_died():
    child = Child(Program("sleeper", ["sleep", "600"]))
    child.start()
    first = child.pid
    assert not child.tend()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not child.is_alive())
    wait_until(child.tend)
    assert child.is_alive()
    assert child.pid != first
    child.stop()
    assert not child.is_alive()


def test_child_that_ignores_its_stop_signal_is_killed(tmp_path):
    script = "trap '' TERM; echo set; while true; do sleep 1; done"
    child = Child(
        Program("stubborn", ["sh", "-c", script], log=tmp_path / "log", patience_seconds=0.2)
    )
    child.start()
    child.wait_until(lambda: child.last_words() == "set", seconds=10)
    child.stop()
    assert not child.is_alive()


def test_child_that_ends_at_once_shows_its_last_words(tmp_path):
    child = Child(
        Program("talker", ["sh", "-c", "echo no such luck; exit 3"], log=tmp_path / "log")
    )
    child.start()
    with pytest.raises(StartError, match="no such luck"):
        child.wait_until(lambda: False, seconds=10)


def test_child_starts_though_its_log_folder_was_cleared(tmp_path):
    script = "echo back again; exec sleep 600"
    child = Child(Program("talker", ["sh", "-c", script], log=tmp_path / "logs" / "log"))
    child.start()
    child.wait_until(lambda: child.last_words() == "back again", seconds=10)
    child.stop()
