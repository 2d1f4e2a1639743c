"""The writer writes in order, waits for Postgres, and ends the process when the claim is over."""

import subprocess
import sys
import threading

import pytest
from npas_store import claims, events, jobs
from npas_store.claims import LeaseLostError
from npas_store.database import reading, transaction
from npas_worker.protocol import FENCED
from npas_worker.writer import Writer

IDLE = """
import sys, time
from npas_worker.writer import Writer
Writer(sys.argv[1], 1).start()
time.sleep(60)
"""


def test_scribe_writes_in_order_and_the_newest_report(claimed):
    writer = Writer(claimed.id, 1)
    writer.start()
    for n in range(20):
        writer.add(lambda session, n=n: events.append(session, claimed.id, "note", str(n)))
        writer.report(progress=n / 20, phase="training")
    writer.close()
    with reading() as session:
        told = [e.message for e in events.after(session, claimed.id) if e.type == "note"]
        job = jobs.get(session, claimed.id)
    assert told == [str(n) for n in range(20)]
    assert (job.progress, job.phase) == (0.95, "training")


def test_scribe_writes_only_the_newest_of_a_kind(claimed):
    writer = Writer(claimed.id, 1)
    replaced = [
        writer.replace("x", lambda session, n=n: events.append(session, claimed.id, "x", str(n)))
        for n in range(3)
    ]
    writer.start()
    writer.close()
    with reading() as session:
        told = [e.message for e in events.after(session, claimed.id) if e.type == "x"]
    assert (replaced, told) == ([False, True, True], ["2"])


def test_scribe_of_an_older_claim_writes_nothing(claimed):
    with transaction() as session:
        claims.drain(session, claimed.id, 1)
    with pytest.raises(LeaseLostError):
        Writer(claimed.id, 1).write_now(
            lambda session: events.append(session, claimed.id, "note", "zombie")
        )
    with reading() as session:
        assert "zombie" not in [e.message for e in events.after(session, claimed.id)]


def test_scribe_ends_an_idle_process_whose_claim_is_over(claimed, in_environment):
    with in_environment(NPAS_LEASE_SECONDS="1"):
        process = subprocess.Popen([sys.executable, "-c", IDLE, claimed.id])
    with transaction() as session:
        claims.drain(session, claimed.id, 1)
    assert process.wait(60) == FENCED


def test_scribe_waits_for_postgres(fragile):
    job_id, postgres = fragile
    postgres.stop()
    writing = threading.Thread(
        target=Writer(job_id, 1).write_now,
        args=(lambda session: claims.report(session, job_id, 1, {"progress": 0.5}),),
    )
    writing.start()
    postgres.start()
    writing.join()
    with reading() as session:
        assert jobs.get(session, job_id).progress == 0.5
