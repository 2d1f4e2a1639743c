"""What the API and its planner say to each other over sockets: a length, then JSON."""

import json
from typing import Any

LENGTH_BYTES = 8
"""Before every message: how many bytes it has, big-endian."""

HELLO = b"."
"""What the API says to the planner, and the planner back: it is still there."""


def framed(message: Any) -> bytes:
    """Return a message as it is sent."""
    content = json.dumps(message).encode()
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def num_bytes(length: bytes) -> int:
    """Return how many bytes follow."""
    return int.from_bytes(length, "big")
