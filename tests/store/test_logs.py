"""The log of a claim: bounded, whole at its end, and without passwords."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas_store import logs, resume_files
from npas_store.removal import Freed

JOB = "job_log"


@pytest.fixture
def log(store):
    """Write to the log of a claim."""
    assert store.is_dir()
    made = []

    def open_log(claim_number=1, most_bytes=1000):
        resume_files.folder(JOB, claim_number).mkdir(parents=True, exist_ok=True)
        made.append(logs.LogFile(JOB, claim_number, most_bytes=most_bytes))
        return made[-1]

    logs.delete_logs(JOB)
    yield open_log
    for each in made:
        each.close()
    logs.delete_logs(JOB)


def whole(claim_number=1):
    return logs.whole(logs.of_claims(JOB).get(claim_number, ()))


def test_small_log_is_one_file_beside_the_folder(log, store):
    log().write(b"one\n")
    assert whole() == b"one\n"
    assert (store / "jobs" / JOB / "e1.log").read_bytes() == b"one\n"
    assert logs.last_line(JOB, 1) == "one"
    assert logs.last_line(JOB, 2) == ""


def test_log_never_holds_more_than_it_may_and_keeps_the_last(log):
    file, said = log(most_bytes=1000), b""
    for number in range(500):
        line = b"line %d\n" % number
        said += line
        file.write(line)
        parts = logs.of_claims(JOB)[1]
        assert sum(part.path.stat().st_size for part in parts) <= 1000
        assert said.endswith(whole())
        assert len(whole()) >= min(len(said), 400)
        assert parts[-1].stop == len(said)
    assert parts[0].start == len(said) - len(whole())


def test_places_stay_places_when_the_oldest_is_dropped(log):
    file = log(most_bytes=100)
    file.write(b"a" * 40)
    place = logs.of_claims(JOB)[1][-1].stop
    file.write(b"b" * 40)
    file.write(b"c" * 40)
    parts = logs.of_claims(JOB)[1]
    assert (parts[0].start, parts[-1].stop) == (40, 120)
    assert b"".join(chunk for part in parts for chunk in logs.read(part, place)) == (
        b"b" * 40 + b"c" * 40
    )
    gone = logs.Piece(path=parts[0].path.with_name("e1.7.log"), start=7, stop=9)
    assert [*logs.read(gone, 7)] == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([b"", b"x", b"yy", b"zzz"]), max_size=8),
    st.booleans(),
    st.integers(1, 9),
)
def test_last_lines_are_the_last_lines(tmp_path_factory, lines, ends, count):
    path = tmp_path_factory.mktemp("log") / "e1.100.log"
    data = b"\n".join(lines) + (b"\n" if ends and lines else b"")
    path.write_bytes(data)
    start, found = logs.last_lines([logs.Piece(path=path, start=100, stop=100 + len(data))], count)
    expected = data.removesuffix(b"\n").split(b"\n") if data else []
    assert found == min(count, len(expected))
    rest = data[start - 100 :]
    assert rest.removesuffix(b"\n").split(b"\n") == (expected[-count:] or [b""])


def test_logs_are_those_of_claims_alone(log, store):
    log(1).write(b"one")
    log(12).write(b"twelve")
    for name in ("e1.log.bak", "e.log", "ex.log", "e1.x.log"):
        (store / "jobs" / JOB / name).write_text("no log")
    (store / "jobs" / JOB / "e3.log").mkdir()
    assert [*logs.of_claims(JOB)] == [1, 12]
    assert logs.delete_logs(JOB) == Freed(files=2, bytes=9)
    assert logs.of_claims(JOB) == {}


def test_what_could_not_be_written_is_told_when_it_can_be(log, store):
    file = log()
    file.write(b"before\n")
    file.close()
    path = store / "jobs" / JOB / "e1.log"
    path.rename(path.with_suffix(".aside"))
    path.mkdir()  # as a full disk: no file can be opened there
    file.write(b"lost\n")
    path.rmdir()
    path.with_suffix(".aside").rename(path)
    file.write(b"after\n")
    assert whole() == b"before\nnpas: 5 bytes of this log could not be written\nafter\n"


def test_passwords_are_masked(in_environment, store):
    assert store.is_dir()
    with in_environment(
        NPAS_DATABASE_URL="postgresql://me:p%40ssword-long@host/db?password=in-the-query",
        NPAS_REDIS_URL="redis://:short@host:1/0",
    ):
        hidden = logs.secrets()
    assert set(hidden) == {b"p%40ssword-long", b"p@ssword-long", b"in-the-query"}
    said = (
        b"postgresql://me:p%40ssword-long@host/db p@ssword-long in-the-query short\n"
        b"redis://:short@host:1/0 redis://host:1/0 http://other:secret@elsewhere/x: a@b\n"
    )
    assert logs.masked(said, hidden) == (
        b"postgresql://me:***@host/db *** *** short\n"
        b"redis://:***@host:1/0 redis://host:1/0 http://other:***@elsewhere/x: a@b\n"
    )
