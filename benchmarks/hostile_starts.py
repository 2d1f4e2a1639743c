"""Sends broken files of weights, and asks for jobs that start from them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import httpx

from benchmarks.hostile_files import HostileFile
from benchmarks.hostile_uploads import Result, Sender
from benchmarks.hostile_weights import ARCHITECTURE, KINDS, made

_BUDGET = {"fraction": 0.75}


def fault_of(answer: httpx.Response, *, must_be_refused: bool) -> str:
    """Return what is wrong with the answer to a request; empty: nothing."""
    asked = answer.request.content[:2000]
    if answer.is_success:
        return f"taken: {asked!r}" if must_be_refused else ""
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    if answer.status_code >= 500 or not is_problem:
        return f"{answer.status_code} {answer.text[:300]} to {asked!r}"
    told = answer.json()
    is_told = told.get("code") and told.get("detail")
    return "" if is_told else f"says nothing: {answer.text[:300]}"


def outcome_of(answer: httpx.Response) -> str:
    """Return what the answer to a request says, in few words."""
    if answer.is_success:
        return f"{answer.status_code}, in order"
    try:
        return f"{answer.status_code} {answer.json().get('code')}"
    except ValueError:
        return f"{answer.status_code}, no JSON"


def _job(sender: Sender, start: Any, **changes: Any) -> httpx.Response:
    """Ask for a job that starts from a file."""
    asked = {"architecture": ARCHITECTURE, "budget": _BUDGET, "dataset": "digits", "start": start}
    return sender.client.post("/v1/jobs", json=asked | changes)


def _file(content: bytes) -> HostileFile:
    return HostileFile(kind="", format="weights", content=content, fate="either")


def _named(content: bytes) -> dict[str, str]:
    return {"checkpoint": hashlib.sha256(content).hexdigest()}


def _from_file(sender: Sender, kind: str, content: bytes) -> Result:
    """Send a file, have it checked, and ask for a job that starts from it."""
    announced = sender.announce(_file(content))
    if not announced.is_success:
        fault = fault_of(announced, must_be_refused=True)
        return Result(kind=kind, outcome=outcome_of(announced), fault=fault)
    row = announced.json()
    sent = sender.put(row, content)
    if not sent.is_success:
        return Result(kind=kind, outcome=outcome_of(sent), fault=f"not taken: {sent.text[:300]}")
    found = sender.ended(row)
    answer = _job(sender, _named(content))
    fault = _fault_of_check(found, KINDS[kind][0]) or _fault_of_job(answer, KINDS[kind][0])
    outcome = f"{found['state']}, job {outcome_of(answer)}"
    return Result(kind=kind, outcome=outcome, fault=fault)


def _fault_of_check(found: Mapping[str, Any], fate: str) -> str:
    state, why = found["state"], found["reason"] or {}
    if state not in ("ready", "invalid"):
        return f"stuck: {state}, {why}"
    if fate != "either" and (state == "invalid") != (fate == "invalid"):
        return f"{state}, and should be {fate}: {why}"
    if state == "invalid" and (why.get("code") != "invalid_data" or not why.get("message")):
        return f"no good reason: {why}"
    return ""


def _fault_of_job(answer: httpx.Response, fate: str) -> str:
    if fate == "fits" and not answer.is_success:
        return f"refused, and fits: {answer.text[:300]}"
    return fault_of(answer, must_be_refused=fate in ("unfit", "invalid"))


def too_large(sender: Sender, content: bytes, rng: Random) -> httpx.Response:
    """Announce more than there may be, or nothing at all."""
    return sender.announce(_file(content), bytes=rng.choice((10**12, 2**63, 10**400, 0, -1, 1.5)))


def with_options(sender: Sender, content: bytes, rng: Random) -> httpx.Response:
    """Announce what weights do not have."""
    options = ({"options": {"channels": 1}}, {"format": "pickle"}, {"format": "safetensors"})
    return sender.announce(_file(content), **rng.choice(options))


def other_bytes(sender: Sender, content: bytes, rng: Random) -> httpx.Response:
    """Announce the checksum of other bytes, and name that."""
    other = _named(rng.randbytes(8))["checkpoint"]
    row = sender.announce(_file(content), sha256=other).json()
    sender.put(row, content)
    sender.ended(row)
    return _job(sender, {"checkpoint": other})


def named_early(sender: Sender, content: bytes, rng: Random) -> httpx.Response:
    """Name a file before all of it has arrived, and give it up."""
    mine = content + rng.randbytes(8)  # which no other request has sent
    row = sender.announce(_file(mine)).json()
    sender.put(row, mine[: len(mine) // 2], 0)
    answer = _job(sender, _named(mine))
    sender.give_up(row)
    return answer


def named_as_dataset(sender: Sender, content: bytes, rng: Random) -> httpx.Response:
    """Name weights as what is trained on."""
    del rng
    row = sender.announce(_file(content)).json()
    sender.put(row, content)
    sender.ended(row)
    return _job(sender, _named(content), dataset=f"uploaded:{row['id']}")


def malformed(sender: Sender, content: bytes, rng: Random) -> httpx.Response:
    """Name no file, or ask of one what there is not."""
    names = (
        *("../../etc/passwd", "0" * 64, "A" * 64, "g" * 64, "", "0" * 63, "0" * 10**5, None, 5),
        *(["0" * 64], {"sha256": "0" * 64}, "0" * 64 + "\n", "uploaded:weights", "file:///etc"),
    )
    more: tuple[dict[str, Any], ...] = (
        {},
        {"fit": "guess"},
        {"join": True},
        {"frozen": False},
        {"format": "pickle"},
    )
    wrong = {"checkpoint": rng.choice(names)} | rng.choice(more)
    return _job(
        sender, rng.choice((wrong, wrong, [wrong], "0" * 64, _named(content)["checkpoint"]))
    )


WAYS: Sequence[Callable[[Sender, bytes, Random], httpx.Response]] = (
    *(too_large, with_options, other_bytes, named_early, named_as_dataset, malformed),
)
"""Requests with a file in order that are to be refused."""


def weights_kinds() -> list[str]:
    """Return all that can be wrong, by name."""
    return [*KINDS, *(way.__name__.replace("_", " ") for way in WAYS)]


def start_from_weights(sender: Sender, number: int, seed: int) -> Result:
    """Do what has a number: send a file and start from it, or a request of `WAYS`."""
    kind = weights_kinds()[number % len(weights_kinds())]
    own_seed = 10**6 * seed + number
    if kind in KINDS:
        return _from_file(sender, kind, made(kind, own_seed))
    way = WAYS[weights_kinds().index(kind) - len(KINDS)]
    answer = way(sender, made("in order", own_seed), Random(f"{kind} {own_seed}"))
    fault = fault_of(answer, must_be_refused=True)
    return Result(kind=kind, outcome=outcome_of(answer), fault=fault)
