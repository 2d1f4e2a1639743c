"""What a client takes, and what it has already."""

from fastapi import Request

from npas_api import errors
from npas_api.errors import FieldError

JSON = "application/json"
EVENTS = "text/event-stream"


async def json_only(request: Request) -> None:
    """Refuse clients that do not take JSON; a dependency.

    Raises:
        NotAcceptableError: the Accept header leaves JSON out.
    """
    preferred(request, JSON)


def preferred(request: Request, *offers: str) -> str:
    """Return the offer that the client likes best, the first one if it does not care.

    Raises:
        NotAcceptableError: it takes none of them.
    """
    header = request.headers.get("accept", "").strip() or "*/*"
    ranked = [(-_quality(header, offer), place) for place, offer in enumerate(offers)]
    quality, place = min(ranked)
    if quality < 0:
        return offers[place]
    message = f"one of these is needed: {', '.join(offers)}"
    blame = FieldError(pointer="/accept", code="not_acceptable", message=message, place="header")
    raise errors.NotAcceptableError(
        f"Accept: {header[:200]} cannot be met; {message}", errors=[blame]
    )


def is_known(if_none_match: str, etag: str) -> bool:
    """Tell whether the client named this version; weak tags compare equal, as RFC 9110 has it."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in (etag, "*") for tag in tags)


def _quality(header: str, offer: str) -> float:
    """Return the weight that an Accept header gives to a media type; the closest match counts."""
    closeness = {"*/*": 1, offer.partition("/")[0] + "/*": 2, offer: 3}
    best = (0, 0.0)
    for entry in header.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        if kind in closeness:
            best = max(best, (closeness[kind], _weight(parameters)))
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return max(0.0, min(1.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0
