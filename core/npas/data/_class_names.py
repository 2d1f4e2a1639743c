"""What classes may be called."""

import unicodedata
from collections.abc import Iterable

_MOST_LETTERS = 200
_CONTROL, _SURROGATE = "Cc", "Cs"


def wrong_class_name(names: Iterable[str]) -> str | None:
    """Return the first name that not every file and database keeps, or that is too long.

    Returns:
        the name as it can be shown, and what is wrong with it; None: all are in order.
    """
    for name in names:
        shown = name[:40].encode("unicode_escape").decode("ascii")
        if len(name) > _MOST_LETTERS:
            return f"the class {shown}... has {len(name):,} letters; at most {_MOST_LETTERS}"
        if any(unicodedata.category(letter) in (_CONTROL, _SURROGATE) for letter in name):
            return f"the class {shown} has control characters in its name"
    return None
