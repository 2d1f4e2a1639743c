"""Reads a stream of server-sent events, the way the WHATWG standard splits it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One server-sent event.

    Attributes:
        id: to be sent back as Last-Event-ID, "" when it has none.
        event: its type, "message" when it names none.
        data: the parsed JSON.
    """

    id: str
    event: str
    data: Any


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """Yield each complete event of a stream; comments (pings) and a torn last event are dropped.

    Args:
        lines: without their line ends.
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data" and "data" in fields:
                value = f"{fields['data']}\n{value}"
            fields[name] = value  # a comment has the name "", which nobody reads
        elif "data" in fields:
            yield Message(
                id=fields.get("id", ""),
                event=fields.get("event", "message"),
                data=json.loads(fields["data"]),
            )
            fields = {}
        else:
            fields = {}
