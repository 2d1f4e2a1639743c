"""Malformed budgets, one per number and seed: what `hostile_requests` sends."""

import random
from collections.abc import Callable, Mapping
from typing import Any

Random = random.Random

RAW = "raw:"
"""A text that begins so stands in a request without its quotation marks, and without this."""

_FIELDS = ("parameters", "fraction", "bytes", "device")
_COUNTS = ("parameters", "bytes")
_NUMBERS = ("parameters", "fraction", "bytes")


def _of(names: tuple[str, ...], *values: Any) -> Callable[[Random], Any]:
    """Return what makes a budget of one of these fields with one of these values."""
    return lambda rng: {rng.choice(names): rng.choice(values)}


def _nested(rng: Random) -> Any:
    value: Any = 5000
    name = rng.choice(_FIELDS)
    for _ in range(rng.choice((1, 2, 30, 31, 40, 900))):
        value = [value] if rng.random() < 0.5 else {name: value}
    return {name: value}


def _several(rng: Random) -> Any:
    """Return a budget that says more than one thing; a device may say its bytes beside it."""
    whole = {"parameters": 5000, "fraction": 0.5, "bytes": 9000, "device": "nano-33-ble"}
    names = rng.sample(_FIELDS, rng.choice((2, 2, 3, 4)))
    if {*names} == {"bytes", "device"}:
        names[0] = "fraction"
    return {name: whole[name] for name in names}


def _text(rng: Random) -> Any:
    """Return a number that is a text, or a text that is none."""
    texts = ("5000", "0.5", "50%", "", "NaN", "0x1388", "5e3", "\uff15\uff10", "5_000", "1;DROP")
    return rng.choice(({rng.choice(_NUMBERS): rng.choice(texts)}, rng.choice(texts)))


def _no_budget(rng: Random) -> Any:
    return rng.choice((None, {}, [], "", [{"parameters": 5000}], [5000], "fraction", {"": 5000}))


def _boolean(rng: Random) -> Any:
    value = rng.random() < 0.5
    return rng.choice((value, {rng.choice(_FIELDS): value}))


def _unknown(rng: Random) -> Any:
    """Return a budget with a field that there is not, beside one in order or alone."""
    names = (
        "Bytes",
        "byte",
        "kilobytes",
        "flops",
        "bytes ",
        "__class__",
        "parameters\u200b",
        "x" * 5000,
    )
    extra = {rng.choice(names): rng.choice((5000, None, 0.5))}
    return rng.choice((extra, {"fraction": 0.5} | extra))


def _device(rng: Random) -> Any:
    names = (
        *(
            "nano",
            "nano 33 ble",
            "../../etc/passwd",
            "",
            " ",
            "x" * 10**5,
            "nano-33-ble\0",
            "a\nb",
        ),
        *("http://localhost/boards.json", "*", "__class__", "\u202e", 5, None, ["nano-33-ble"]),
    )
    return {"device": rng.choice(names)}


def _literal(rng: Random) -> Any:
    """Return a number as JSON, or what is none in JSON, as it stands in the request."""
    texts = (
        *("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "0x10", "01", "1.", ".5", "+5", "5f"),
        *(
            "1" + "0" * 400,
            "1" + "0" * 5000,
            "1e5000",
            "0." + "0" * 500 + "1",
            "9" * 100_000,
            "--1",
        ),
    )
    value = RAW + rng.choice(texts)
    return rng.choice((value, {rng.choice(_NUMBERS): value}))


def _just_too_small(rng: Random) -> Any:
    """Return a budget in order that no plan of the network fits."""
    small = ({"parameters": rng.randint(1, 100)}, {"bytes": rng.randint(1, 200)})
    return rng.choice((*small, {"fraction": rng.choice((1e-300, 1e-9, 0.001))}))


def _twice(rng: Random) -> Any:
    """Return a budget in which a field stands twice."""
    name = rng.choice(_FIELDS)
    return f'{RAW}{{"{name}": 5000, "{name}": {rng.choice(("5000", "6000", "null"))}}}'


def _ample(rng: Random) -> Any:
    """Return a budget in order, above what the network has."""
    return rng.choice(({"fraction": 10}, {"fraction": 1.0}, 10**6, {"parameters": 10**9}))


KINDS: Mapping[str, Callable[[Random], Any]] = {
    "negative": _of(_NUMBERS, -1, -5000, -(2**63), -0.5, -(10**30)),
    "zero": _of(_NUMBERS, 0, 0.0, -0.0),
    "huge": _of(_NUMBERS, 10**30, 2**63, 2**64, 10**400, 1e308, 5e15),
    "floats for counts": _of(_COUNTS, 0.5, 5000.5, 1e300, 5e-324, 4999.999999999999),
    "texts": _text,
    "literals": _literal,
    "several at once": _several,
    "none": _no_budget,
    "booleans": _boolean,
    "unknown fields": _unknown,
    "unknown devices": _device,
    "nested": _nested,
    "a field twice": _twice,
    "below the least": _just_too_small,
    "more than all": _ample,
}
"""By what is wrong with a budget."""
EITHER = ("more than all",)
"""Kinds of which some are in order."""


def budget_bodies(number: int, seed: int) -> tuple[str, bool, dict[str, Any]]:
    """Return what is wrong, whether it must be refused, and the fields of a request."""
    kind = list(KINDS)[number % len(KINDS)]
    budget = KINDS[kind](Random(f"{kind} {10**6 * seed + number}"))
    return kind, kind not in EITHER, {"architecture": "resnet-8", "budget": budget}
