"""Around every request: it gets an id, and nothing escapes but as a problem document."""

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from npas_api import problems

HEADER = "X-Request-Id"

_CLIENTS_OWN = re.compile(r"[\w.:-]{1,64}", re.ASCII)

log = logging.getLogger(__name__)


class RequestContext:
    """Names each request, and turns what nobody caught into a problem document and a log entry.

    Plain ASGI: a wrapped response would buffer streams, and context variables would not reach the
    endpoint.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _CLIENTS_OWN.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        has_started = False

        async def named(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, named)
        except ClientDisconnect:
            log.info("%s: the client of %s %r left", request_id, scope["method"], scope["path"])
        except Exception as error:
            log.exception("%s: %s %r failed", request_id, scope["method"], scope["path"])
            if has_started:
                raise
            await problems.response(HTTPConnection(scope), error)(scope, receive, named)
