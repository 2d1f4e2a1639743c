"""A download ends with the right bytes or with an error, over any connection."""

import hashlib
import os

import httpx
import pytest
from npas_client import download, errors

BYTES = os.urandom(300_000)
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def fetch(scripted, tmp_path):
    """Download /file to the folder `got` and return its path."""

    def run():
        with httpx.Client(base_url=scripted.url) as http:
            path = tmp_path / "got" / "file"
            return download.fetch(http, "/file", path, sha256=SHA256, num_bytes=len(BYTES))

    return run


def torn(reply, *, piece=100_000):
    """Serve ranges, but hang up after each piece."""

    def answer(request):
        header = request.headers.get("range", "bytes=0-")
        start = int(header.removeprefix("bytes=").removesuffix("-"))
        rest = BYTES[start:]
        status = 206 if "range" in request.headers else 200
        return reply(status=status, body=rest[:piece], promised=len(rest))

    return answer


def test_fetch_writes_the_file_and_nothing_else(scripted, reply, fetch):
    scripted.replies["/file"] = [reply(body=BYTES)]
    path = fetch()
    assert path.read_bytes() == BYTES
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_fetch_goes_on_where_the_connection_broke(scripted, reply, fetch):
    scripted.replies["/file"] = torn(reply)
    assert fetch().read_bytes() == BYTES
    ranges = [request.headers.get("range") for request in scripted.seen("/file")]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_fetch_goes_on_in_a_later_call(scripted, reply, fetch):
    scripted.replies["/file"] = [reply(body=BYTES[:1000], promised=2000), reply(status=404)]
    with pytest.raises(errors.NotFoundError):
        fetch()
    scripted.replies["/file"] = torn(reply, piece=len(BYTES))
    assert fetch().read_bytes() == BYTES
    assert scripted.seen("/file")[-1].headers["range"] == "bytes=1000-"


def test_fetch_starts_over_when_ranges_are_ignored(scripted, reply, fetch):
    whole, half = reply(body=BYTES), reply(body=BYTES[:1000], promised=len(BYTES))
    scripted.replies["/file"] = [half, whole]
    assert fetch().read_bytes() == BYTES


def test_fetch_tries_again_while_the_service_is_busy(scripted, reply, fetch):
    scripted.replies["/file"] = [reply(status=503), reply(hang_up=True), reply(body=BYTES)]
    assert fetch().read_bytes() == BYTES


def test_fetch_replaces_a_damaged_part(scripted, reply, fetch, tmp_path):
    part = tmp_path / "got" / f".file.{SHA256[:16]}.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    scripted.replies["/file"] = torn(reply, piece=len(BYTES))
    assert fetch().read_bytes() == BYTES


def test_fetch_refuses_other_bytes(scripted, reply, fetch, tmp_path):
    scripted.replies["/file"] = [reply(body=BYTES[::-1])]
    with pytest.raises(errors.DownloadError, match=SHA256):
        fetch()
    assert not (tmp_path / "got" / "file").exists()


def test_fetch_leaves_the_right_file_alone(scripted, reply, fetch):
    scripted.replies["/file"] = [reply(body=BYTES)]
    fetch()
    fetch()
    assert len(scripted.seen("/file")) == 1
