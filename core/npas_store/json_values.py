"""What may go into a JSON column: Postgres, like RFC 8259, knows no NaN and no infinity."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def finite(value: Any) -> Any:
    """Return a copy in which every NaN and infinity is None, and every mapping a dict."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def fingerprint(value: Any) -> str:
    """Return the SHA-256, in hex, of a value's JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
