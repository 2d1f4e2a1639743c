"""A real HTTP server that answers as scripted: refusing, hanging up, sending half."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from npas_client.local import LocalService


@dataclass(kw_only=True)
class Reply:
    """One answer.

    Attributes:
        body: what is sent.
        promised: bytes promised in Content-Length, if not those of the body: then it hangs up.
        hang_up: close the connection without an answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    hang_up: bool = False


@dataclass(kw_only=True, frozen=True)
class Request:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Scripted:
    """Answers by path: the last reply of a path repeats, those before it are given once.

    A callable in place of a list computes the reply from the request.
    """

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply] | Callable[[Request], Reply]] = {}
        self.requests: list[Request] = []
        self.url = ""

    def seen(self, path: str) -> list[Request]:
        """The requests that came for a path, without its query."""
        return [request for request in self.requests if request.path.partition("?")[0] == path]

    def reply(self, request: Request) -> Reply:
        """Return what to answer."""
        self.requests.append(request)
        script = self.replies.get(request.path.partition("?")[0], [Reply(status=404)])
        if callable(script):
            return script(request)
        return script.pop(0) if len(script) > 1 else script[0]


def _handler(scripted: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(method=self.command, path=self.path, headers=headers, body=content)
            reply = scripted.reply(request)
            if reply.hang_up:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            promised = len(reply.body) if reply.promised is None else reply.promised
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = promised != len(reply.body)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  # the library's names

        def log_message(self, *_arguments: object) -> None:
            """Stay quiet."""

    return Handler


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A server on a port of its own; give it replies by path."""
    script = Scripted()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(script))
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def reply() -> type[Reply]:
    """Make a reply."""
    return Reply


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """The whole embedded service, as `make up` starts it."""
    folder = tmp_path_factory.mktemp("service")
    with LocalService(folder / "home", folder / "service.log") as running:
        yield running
