"""Planning in processes: limits, requests that are abandoned, and a planner that dies."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from npas_api import planning
from npas_api.messages import HELLO, LENGTH_BYTES, framed, num_bytes
from npas_store.settings import settings

METHOD = """
import json
from npas.errors import PlanError
from npas.methods import Method, find
from npas.spec import Spec

class Options(Spec):
    does: str

class Odd(Method):
    title = "Does what no method should"
    Options = Options
    def smallest(self, table, options):
        if options.does == "loop":
            while True: pass
        if options.does == "grow":
            grown = [bytearray(1 << 24) for _ in range(1 << 20)]
        if options.does == "raise":
            raise PlanError("the ledger does not add up")
        return find("dense").smallest(table, None)

METHOD = Odd()
"""


@pytest.fixture(scope="module")
def patient(services, tmp_path_factory, in_environment):
    """The address of an application that knows the method `odd`, and waits long for its plans."""
    assert services.is_dir()
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "odd.dist-info").mkdir()
    (folder / "odd.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\n")
    (folder / "odd.dist-info" / "entry_points.txt").write_text(
        "[npas.methods]\nodd = odd_method\n"
    )
    (folder / "odd_method.py").write_text(METHOD)
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    with in_environment(PYTHONPATH=paths, NPAS_PLAN_SECONDS="600"), serving() as address:
        yield address


@contextmanager
def serving():
    """Serve an application from a thread, as in conftest.py, which cannot be imported."""
    import threading

    import uvicorn
    from npas_api.app import create_app

    app = create_app(chores=())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    app.state.hub.close()
    server.should_exit = True
    thread.join()


@pytest.fixture
def service(store, patient):
    assert store.is_dir()
    with httpx.Client(base_url=patient, timeout=120) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


@pytest.fixture
def limit(monkeypatch):
    """Set limits of planning for the length of a test."""

    def set_to(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"NPAS_{name.upper()}", str(value))
        settings.cache_clear()

    yield set_to
    monkeypatch.undo()
    settings.cache_clear()


def wait_until(holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if text.rpartition(")")[2].split()[1] == str(pid):
            found.append(int(text.split()[0]))
    return found


def planners():
    """Return the processes that plan for the application that knows `odd`, and for no other.

    Another one's would start again with the environment of these tests, and know `odd` for good.
    """
    return [pid for pid in children(os.getpid()) if is_planner_of_odd(Path(f"/proc/{pid}"))]


def is_planner_of_odd(process):
    try:
        is_planner = b"npas_api.planner_process" in (process / "cmdline").read_bytes()
        told = (process / "environ").read_text().split("\0")
    except OSError:  # it has just ended
        return False
    environment = dict(entry.partition("=")[::2] for entry in told)
    return is_planner and environment.get("PYTHONPATH") == os.environ["PYTHONPATH"]


def forks():
    return [fork for planner in planners() for fork in children(planner)]


def odd(asked, does):
    return {**asked, "method": {"name": "odd", "does": does}}


def refused(answer):
    document = answer.json()
    assert (answer.status_code, document["code"]) == (422, "plan_too_large"), document
    (error,) = document["errors"]
    assert error["pointer"] == "/architecture"
    assert "fewer layers" in error["message"]
    return error["message"]


def put_off(answer):
    document = answer.json()
    assert (answer.status_code, document["code"]) == (503, "planner_unavailable"), document
    assert answer.headers["retry-after"] == "5"
    assert "the request is not to blame" in document["detail"]


def test_plan_that_takes_too_long_is_refused(service, asked, limit):
    limit(plan_seconds=1)
    for path in ("/v1/plans", "/v1/jobs"):
        assert "NPAS_PLAN_SECONDS" in refused(service.post(path, json=odd(asked, "loop")))
    wait_until(lambda: not forks())
    limit(plan_seconds=600)
    assert service.post("/v1/jobs", json=asked).status_code == 202


def test_plan_that_takes_too_much_memory_is_refused(service, asked, limit):
    limit(plan_megabytes=128)
    assert "128 MB" in refused(service.post("/v1/plans", json=odd(asked, "grow")))
    assert service.post("/v1/plans", json=asked).status_code == 200


def test_plans_that_are_abandoned_end_and_hold_nothing_up(service, asked):
    body = httpx.Request("POST", service.base_url, json=odd(asked, "loop")).content
    head = (
        "POST /v1/plans HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(
                socket.create_connection((service.base_url.host, service.base_url.port))
            )
            connection.sendall(head.encode() + body)
        wait_until(lambda: len(forks()) == 2)
    wait_until(lambda: not forks())
    assert service.post("/v1/jobs", json=asked).status_code == 202


def test_what_the_library_does_wrong_is_500_and_logged(service, asked, caplog):
    answer = service.post("/v1/plans", json=odd(asked, "raise"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "ledger" not in answer.text
    assert answer.json()["request_id"] in caplog.text
    assert "the ledger does not add up" in caplog.text


def test_planner_that_dies_is_started_again_and_ready_means_ready(service, asked):
    for planner in planners():
        os.kill(planner, signal.SIGKILL)
    wait_until(lambda: service.get("/readyz").status_code == 503)
    assert service.get("/readyz").json()["checks"]["planner"] == "is starting"
    assert service.get("/livez").status_code == 200
    # Asked while it starts, a plan waits for it.
    assert service.post("/v1/plans", json=asked).status_code == 200
    assert service.get("/readyz").json()["checks"]["planner"] == "ok"
    assert "torch" in Path(f"/proc/{planners()[0]}/maps").read_text()


@pytest.mark.parametrize(("ended", "path"), [(forks, "/v1/jobs"), (planners, "/v1/plans")])
def test_plan_whose_process_is_ended_is_not_the_fault_of_the_request(service, asked, ended, path):
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(service.post, path, json=odd(asked, "loop"))
        wait_until(forks)
        for process in ended():
            os.kill(process, signal.SIGKILL)
        put_off(waiting.result())
    wait_until(lambda: not forks())
    assert service.post(path, json=asked).is_success


def test_plan_whose_process_is_frozen_is_not_the_fault_of_the_request(
    service, asked, limit, monkeypatch
):
    limit(plan_seconds=2)
    monkeypatch.setattr(planning, "LATE_SECONDS", 2)
    (frozen,) = planners()
    os.kill(frozen, signal.SIGSTOP)
    put_off(service.post("/v1/plans", json=asked))
    wait_until(lambda: planners() not in ([], [frozen]))
    limit(plan_seconds=600)
    assert service.post("/v1/plans", json=asked).status_code == 200


def test_plan_that_is_frozen_itself_ends(service, asked, limit, monkeypatch):
    limit(plan_seconds=2)
    monkeypatch.setattr(planning, "LATE_SECONDS", 2)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(service.post, "/v1/plans", json=odd(asked, "loop"))
        wait_until(forks)
        (frozen,) = forks()
        os.kill(frozen, signal.SIGSTOP)
        put_off(waiting.result())
    wait_until(lambda: not Path(f"/proc/{frozen}").exists())


def test_planner_that_is_frozen_is_started_again_without_a_request(service, limit):
    others = planners()
    limit(silent_seconds=2)  # is read when a planner is started

    async def freeze():
        planner = planning.Planner()
        planner.start()
        try:
            await planner.catalogue("methods")
            (frozen,) = set(planners()) - set(others)
            os.kill(frozen, signal.SIGSTOP)
            async with asyncio.timeout(120):
                while frozen in planners():
                    await asyncio.sleep(0.05)
            assert await planner.catalogue("methods")
        finally:
            await planner.stop()

    asyncio.run(freeze())
    assert planners() == others
    assert service.get("/readyz").status_code == 200


def test_plan_is_made_under_a_lower_limit_of_the_planner_itself(service, asked):
    (planner,) = planners()
    resource.prlimit(planner, resource.RLIMIT_CPU, (1000, 1000))  # of 1,200 s that a fork may use
    assert service.post("/v1/plans", json=asked).status_code == 200


def test_planner_that_cannot_be_started_is_tried_again(monkeypatch, caplog):
    async def start_late():
        planner = planning.Planner()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            planner.start()
            async with asyncio.timeout(120):
                while "/nowhere/python" not in caplog.text:
                    await asyncio.sleep(0.05)
        found = await planner.catalogue("methods")
        await planner.stop()
        return found

    assert asyncio.run(start_late())


def test_questions_that_break_off_end_without_a_word():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = [sys.executable, "-m", "npas_api.planner_process", str(theirs.fileno())]
        process = subprocess.Popen(
            program, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True
        )
        theirs.close()
        with ours.makefile("rb") as answers:
            assert answers.read(num_bytes(answers.read(LENGTH_BYTES)))
            for message in (b"", b"\0", framed({"question": "plan"})[:-1]):
                break_off(ours, message)
            ours.sendall(HELLO)
            assert answers.read(1) == HELLO
    _, told = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in told


def break_off(control, message):
    """Ask a planner for less than a question, and see that nothing is answered."""
    asking, asked = socket.socketpair()
    with asking, asked:
        socket.send_fds(control, [b"?"], [asked.fileno()])
        asked.close()
        asking.sendall(message)
        asking.shutdown(socket.SHUT_WR)
        assert asking.recv(1) == b""


def test_catalogues_list_what_other_distributions_offer(service):
    found = {row["method"] for row in service.get("/v1/methods").json()["data"]}
    assert {"odd", "dense"} <= found
    assert sys.modules.get("odd_method") is None
