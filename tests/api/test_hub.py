"""The hub: asks once for all watchers, keeps little, and loses and repeats nothing."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import groupby
from types import SimpleNamespace

import pytest
from npas.spec import JobSpec
from npas_api.errors import JobNotFoundError
from npas_api.hub import MAX_RECENT_BYTES, TURNS, Hub, Watched
from npas_local import embedded
from npas_store import events, jobs, migrate, sightings
from npas_store.database import UNREACHABLE, transaction
from npas_store.sightings import MOST, SeenEvent, Sighting
from npas_store.tables import Job
from sqlalchemy import Engine, delete, event, text

PLAN = SimpleNamespace(
    method="dense",
    minimum=1,
    dense=1,
    ledger=SimpleNamespace(budget=1, total=1),
    to_json=lambda: "{}",
)
"""What the store needs of a plan; making a real one takes PyTorch."""

STREAM = {"Accept": "text/event-stream"}


def tell(job_id, count, size=0):
    with transaction() as session:
        told = [
            events.News(type="note", message=str(n), data={"x": "x" * size}) for n in range(count)
        ]
        events.append_all(session, job_id, told)


def heard(client, job_id, *, last=0, most=None):
    """Read a stream to its end, or to so many events; return the ids, and how it ended."""
    ids, end = [], None
    headers = {**STREAM, "Last-Event-ID": str(last)}
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        for line in response.iter_lines():
            if line.startswith("id: "):
                ids.append(int(line.removeprefix("id: ")))
            elif line.startswith('data: {"state":'):
                end = json.loads(line.removeprefix("data: "))["state"]
            if len(ids) == most:
                break
    return ids, end


def heard_in_pieces(client, job_id, each):
    """Read a stream, reconnecting after every few events; return all ids, and how it ended."""
    ids = []
    while True:
        more, end = heard(client, job_id, last=ids[-1] if ids else 0, most=each)
        ids += more
        if end is not None or not more:
            return ids, end


@pytest.mark.usefixtures("store")
def test_watchers_of_one_job_hear_each_event_once_and_share_what_is_asked(submit, deliver, client):
    job_id, asked = submit()["id"], []

    def note(_connection, _cursor, statement, *_others):
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    with ThreadPoolExecutor(20) as threads:
        whole = [threads.submit(heard, client, job_id) for _ in range(12)]
        pieces = [threads.submit(heard_in_pieces, client, job_id, n) for n in (1, 2, 3, 5)]
        for _ in range(10):
            tell(job_id, 3)
        mark = len(asked)
        deliver(accuracy=0.5)
        ends = [future.result() for future in [*whole, *pieces]]
    event.remove(Engine, "before_cursor_execute", note)
    ids = list(range(1, 34))
    assert ends[:12] == [(ids, "succeeded")] * 12
    assert [found for found, _ in ends[12:]] == [ids] * 4
    looks = [statement for statement in asked[mark:] if "unnest" in statement]
    assert looks  # else the statements are not those of the hub
    assert not [statement for statement in asked if "FROM events \nWHERE" in statement]


@pytest.mark.usefixtures("store")
def test_reader_that_is_far_behind_is_served_from_the_table(submit, deliver, client):
    job_id = submit()["id"]
    count, read_on = 3 * MOST, threading.Event()

    def slowly():
        ids = []
        with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as response:
            for line in response.iter_lines():
                if line.startswith("id: "):
                    ids.append(int(line.removeprefix("id: ")))
                    assert read_on.wait(60)
        return ids

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(slowly)
        for _ in range(6):  # far more than the sockets between us hold
            tell(job_id, count // 6, size=50_000)
        deliver(accuracy=0.5)
        read_on.set()
        assert reading.result() == list(range(1, count + 4))


@pytest.mark.usefixtures("store")
def test_stream_of_a_job_that_is_deleted_says_so(submit, client):
    job_id = submit()["id"]
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as response:
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith("id: ")) == "id: 1"
        with transaction() as session:
            session.execute(delete(Job))
        assert [line for line in lines if line] == ["event: end", 'data: {"state": "deleted"}']
    answer = client.get(f"/v1/jobs/{job_id}/events", headers=STREAM)
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def seen(first, last, *, size=0, state="running"):
    told = [
        SeenEvent(
            seq=seq,
            at=datetime.now(UTC),
            level="info",
            type="note",
            message="",
            data={"x": "x" * size},
        )
        for seq in range(first, last + 1)
    ]
    return Sighting(state=state, last=last, events=told)


def seqs(watched, after):
    found = watched.recent(after)
    return None if found is None else [frame.seq for frame in found]


def test_watched_keeps_a_bounded_number_of_events():
    watched = Watched("job")
    for n in range(10):
        watched.update(seen(50 * n + 1, 50 * n + 50))
    assert (seqs(watched, 500), seqs(watched, 498)) == ([], [499, 500])
    assert seqs(watched, 500 - MOST) == list(range(501 - MOST, 501))
    assert seqs(watched, 500 - MOST - 1) is None


def test_watched_keeps_a_bounded_number_of_bytes():
    watched = Watched("job")
    watched.update(seen(1, 20, size=MAX_RECENT_BYTES // 4))
    assert seqs(watched, 17) == [18, 19, 20]
    assert seqs(watched, 16) is None
    watched.update(seen(21, 21, size=2 * MAX_RECENT_BYTES))
    assert (seqs(watched, 20), seqs(watched, 21)) == (None, [])


def test_watched_does_not_join_events_with_a_gap_between():
    watched = Watched("job")
    watched.update(seen(1, 3))
    watched.update(seen(7, 9))
    assert (seqs(watched, 6), seqs(watched, 5), seqs(watched, 0)) == ([7, 8, 9], None, None)


@pytest.fixture
def postgres(tmp_path, in_environment):
    """A Postgres of one's own that may be stopped, with a job in it: its id, and the server."""
    spec = {"architecture": "resnet-8", "budget": {"fraction": 1}, "method": "dense"}
    wanted = JobSpec.model_validate({**spec, "dataset": "digits"})
    with (
        embedded.running(tmp_path, redis=False) as servers,
        in_environment(NPAS_DATABASE_URL=servers.database_url),
    ):
        migrate.upgrade()
        with transaction() as session:
            job_id = jobs.create(session, wanted, PLAN).id
        yield job_id, servers.children["postgres"]


@asynccontextmanager
async def running():
    hub = Hub()
    hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


def test_hub_gives_up_its_watchers_with_postgres_and_finds_the_job_again(postgres):
    job_id, server = postgres

    async def act():
        async with running() as hub:
            first = await hub.find(job_id)
            with hub.watching(first):
                changed = first.changed
                await asyncio.to_thread(server.stop)
                await asyncio.wait_for(changed.wait(), 60)
                assert (first.is_lost, first.is_deleted) == (True, False)
                with pytest.raises(UNREACHABLE):
                    await hub.find(job_id)
                server.start()
                await asyncio.to_thread(until_up)
                await asyncio.to_thread(tell, job_id, 1)
                again = await hub.find(job_id)
            assert [frame.seq for frame in await hub.after(again, 1)] == [2]

    asyncio.run(act())


def until_up():
    while True:
        try:
            with transaction() as session:
                session.execute(text("SELECT 1"))
                return
        except UNREACHABLE:
            pass


def test_hub_says_that_there_is_no_such_job(store):
    assert store.is_dir()

    async def act():
        async with running() as hub:
            with pytest.raises(JobNotFoundError):
                await hub.find(f"job_{'0' * 32}")

    asyncio.run(act())


def test_sightings_hold_the_newest_events_of_each_job_alone(submit):
    one, other = submit()["id"], submit()["id"]
    tell(one, MOST + 20)
    with transaction() as session:
        found = sightings.look(session, {one: 0, other: 1, f"job_{'0' * 32}": 0})
    assert found.keys() == {one, other}
    assert [e.seq for e in found[one].events] == list(range(22, MOST + 22))
    assert (found[one].last, found[other].last, found[other].events) == (MOST + 21, 1, [])


def test_many_watchers_who_are_woken_at_once_leave_others_their_turn():
    served = []

    async def watch(hub):
        await hub.turn()
        served.append("watcher")

    async def other():
        while served.count("watcher") < 5 * TURNS:
            served.append("other")
            await asyncio.sleep(0)

    async def act():
        hub = Hub()
        await asyncio.gather(*(watch(hub) for _ in range(5 * TURNS)), other())

    asyncio.run(act())
    in_a_row = [len(list(group)) for who, group in groupby(served) if who == "watcher"]
    assert max(in_a_row) <= TURNS
