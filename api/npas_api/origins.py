"""Who may ask: a browser on this machine must not do the bidding of a stranger's page.

There is no authentication, so what a browser can reach, any page that it shows can try. Two ways
are closed. A page whose name is made to stand for 127.0.0.1 (DNS rebinding) says that name in
Host. A form or a script that sends a request to another site says so in Origin or Sec-Fetch-Site;
its answer it cannot read, but a job would be made or cancelled. Programs send neither header.
"""

import re
from urllib.parse import urlsplit

from npas_store.settings import is_loopback, settings
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from npas_api import errors, problems
from npas_api.errors import FieldError

_HOST = re.compile(r"\[(?P<v6>[0-9a-f:.]+)\](:\d*)?|(?P<name>[\w.-]+)(:\d*)?", re.ASCII | re.I)
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_OWN_SITES = ("same-origin", "none")
"""Sec-Fetch-Site of our own pages, and of what the user typed in."""


class OwnOrigin:
    """Refuses requests for other hosts, and changes that pages of other origins ask for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await problems.response(HTTPConnection(scope), refusal)(scope, receive, send)


def _refusal(scope: Scope) -> errors.ApiError | None:
    headers = Headers(scope=scope)
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _is_ours(_name(host)):
        return _refused(
            errors.HostNotAllowedError,
            "host",
            f"{host[:100]!r} is not a name of this machine, nor one of NPAS_ALLOWED_HOSTS",
        )
    if scope["method"] in _HARMLESS:
        return None
    # Only names that an operator gave: another port of this machine is somebody else.
    if origin is not None and not _is_same(origin, host):
        return _refused(
            errors.OriginNotAllowedError,
            "origin",
            f"{origin[:100]!r} is neither http://{host[:100]} nor one of NPAS_ALLOWED_HOSTS",
        )
    site = headers.get("sec-fetch-site", _OWN_SITES[0])
    if site not in _OWN_SITES:
        told = f"a page of another site sent this ({site[:100]!r}); only our own may"
        return _refused(errors.OriginNotAllowedError, "sec-fetch-site", told)
    return None


def _refused(kind: type[errors.ApiError], header: str, told: str) -> errors.ApiError:
    blame = FieldError(pointer=f"/{header}", code=errors.code(kind), message=told, place="header")
    return kind(f"{errors.title(kind)}: {told}", errors=[blame])


def _name(authority: str) -> str:
    """Return the host of "host:port", in small letters; nothing where it is not well written."""
    found = _HOST.fullmatch(authority)
    return (found["v6"] or found["name"]).lower() if found else ""


def _is_ours(name: str) -> bool:
    named = (*settings().allowed_hosts, settings().host.lower())
    return bool(name) and (is_loopback(name) or name in named or "*" in named)


def _is_same(origin: str, host: str) -> bool:
    """Return whether an Origin is the host that the request is for, or one that is allowed."""
    try:
        authority = urlsplit(origin).netloc
    except ValueError:
        return False
    name = _name(authority)
    return bool(name) and (authority.lower() == host.lower() or name in settings().allowed_hosts)
