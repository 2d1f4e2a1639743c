"""Who a request says that it is for, and where it comes from: pages of strangers are refused."""

import socket

import httpx
import pytest
from npas_store.settings import settings

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def allowed(monkeypatch):
    """Set more hosts for the length of a test."""

    def allow(names):
        monkeypatch.setenv("NPAS_ALLOWED_HOSTS", names)
        settings.cache_clear()

    yield allow
    monkeypatch.undo()
    settings.cache_clear()


def refused(answer, code):
    document = answer.json()
    assert (answer.status_code, document["code"]) == (403, code), document
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["request_id"] == answer.headers["x-request-id"]
    return document["errors"][0]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.1", "[::2]:80"]
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/readyz", "/nothing"])
def test_host_of_a_stranger_is_refused(client, host, path):
    error = refused(client.get(path, headers={"Host": host}), "host_not_allowed")
    assert (error["in"], error["pointer"]) == ("header", "/host")
    assert "NPAS_ALLOWED_HOSTS" in error["message"]


@pytest.mark.parametrize("host", ["", "[", "a:b:c", "[::1", "local host"])
def test_host_that_is_none_is_refused(url, host):
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        request = f"GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = connection.makefile("rb").read().decode()
    assert answer.startswith(("HTTP/1.1 403", "HTTP/1.1 400")), answer


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1", "127.1.2.3:9", "[::1]", "[::1]:8000"]
)
def test_host_of_the_machine_itself_is_answered(client, host):
    assert client.get("/livez", headers={"Host": host}).status_code == 200


def test_host_that_is_allowed_is_answered(client, allowed):
    allowed("npas.example, other.example")
    for host in ("npas.example", "Other.Example:443", "localhost"):
        assert client.get("/livez", headers={"Host": host}).status_code == 200
    refused(client.get("/livez", headers={"Host": "third.example"}), "host_not_allowed")


def test_any_host_can_be_allowed(client, allowed):
    allowed("*")
    assert client.get("/livez", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_page_of_a_stranger_changes_nothing(submit, client, headers):
    job_id = submit()["id"]
    answer = client.post(f"/v1/jobs/{job_id}/cancel", headers={**FORM, **headers})
    error = refused(answer, "origin_not_allowed")
    assert error["pointer"] == f"/{next(iter(headers)).lower()}"
    assert client.get(f"/v1/jobs/{job_id}", headers=headers).json()["state"] == "queued"


def test_page_of_the_service_itself_may_ask(client, url, asked):
    own = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/plans", json=asked, headers=own).status_code == 200
    direct = {"Sec-Fetch-Site": "none"}
    assert client.post("/v1/plans", json=asked, headers=direct).status_code == 200


def test_page_of_an_allowed_host_may_ask(client, asked, allowed):
    # A proxy that ends TLS may put another name into Host than the browser knows.
    allowed("npas.example")
    page = {"Origin": "https://npas.example", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/plans", json=asked, headers=page).status_code == 200


def test_programs_send_no_origin(url, asked):
    assert httpx.post(f"{url}/v1/plans", json=asked, timeout=60).status_code == 200
