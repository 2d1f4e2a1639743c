"""Hostile and broken uploads against real APIs: each is refused with a reason, or is in order.

    python -m benchmarks.hostile_uploads --number 2000 --seed 1

Afterwards no process has used more memory than it may, and nothing is left on the disk.
"""

import argparse
import contextlib
import hashlib
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from npas_local import embedded
from npas_local.environment import environment
from npas_store import migrate

from benchmarks.hostile_files import KINDS, HostileFile, made
from benchmarks.hostile_service import CAPS, SETTINGS, files, serving, watched
from benchmarks.timing import publish

MEGABYTE = 2**20
_PATIENCE_SECONDS = 900.0
_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of one upload.

    Attributes:
        kind: what was wrong with it.
        outcome: in words, such as "invalid: invalid_data".
        fault: what the service did wrong; empty: nothing.
    """

    kind: str
    outcome: str
    fault: str = ""


class Sender:
    """Sends files in good and in bad ways, to any of the APIs."""

    def __init__(self, urls: Sequence[str], rng: random.Random) -> None:
        self._rng, self.clients = rng, [httpx.Client(base_url=url, timeout=120) for url in urls]

    def close(self) -> None:
        """Hang up."""
        for client in self.clients:
            client.close()

    @property
    def client(self) -> httpx.Client:
        """A connection to one of them."""
        return self._rng.choice(self.clients)

    def announce(self, file: HostileFile, **changes: Any) -> httpx.Response:
        """Announce a file."""
        asked = {"name": "hostile", "format": file.format, "bytes": len(file.content)}
        return self.client.post("/v1/datasets", json={**asked, **changes})

    def put(
        self, row: Mapping[str, Any], content: Any, start: int | None = None, **headers: str
    ) -> httpx.Response:
        """Send bytes as the part that begins at `start`, or as the whole."""
        if start is not None:
            last = start + len(content) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{row['upload_bytes']}"
        return self.client.put(row["urls"]["content"], content=content, headers=headers)

    def break_off(self, row: Mapping[str, Any], content: bytes) -> None:
        """Send some of the bytes, then hang up."""
        place = urlsplit(str(self.client.base_url))
        head = (
            f"PUT {row['urls']['content']} HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Content-Length: {row['upload_bytes']}\r\n\r\n"
        )
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(head.encode() + content)

    def state(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a dataset as it is now."""
        found: dict[str, Any] = self.client.get(row["urls"]["self"]).json()
        return found

    def ended(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a dataset once its check is over, or as it is when patience is."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (found := self.state(row))["state"] == "processing":
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return found

    def finish(self, row: Mapping[str, Any], content: bytes) -> dict[str, Any]:
        """Send what is missing and return what became of it."""
        while (start := self.state(row)["received_bytes"]) < len(content):
            self.put(row, content[start:], start)
        return self.ended(row)

    def give_up(self, row: Mapping[str, Any]) -> None:
        """Delete a dataset that will never be whole: there may be only so many of them.

        Raises:
            httpx.HTTPStatusError: it cannot be deleted.
        """
        self.client.delete(row["urls"]["self"]).raise_for_status()


def whole(sender: Sender, file: HostileFile) -> Result:
    """Send a file as it is."""
    announced = sender.announce(file)
    if announced.status_code != 201:
        return _refusal(file.kind, announced)
    sent = sender.put(announced.json(), file.content)
    if not sent.is_success:
        return _refusal(file.kind, sent)
    return _judged(file, sender.ended(announced.json()))


def _judged(file: HostileFile, row: Mapping[str, Any]) -> Result:
    state, why = row["state"], row["reason"] or {}
    outcome = f"{state}: {why.get('code')}" if why else state
    fault = ""
    if state not in ("ready", "invalid"):
        fault = f"stuck: {why}"
    elif file.fate not in (state, "either"):
        fault = f"{state}, and should be {file.fate}: {why.get('message')}"
    elif state == "invalid" and (why.get("code") != "invalid_data" or not why.get("message")):
        fault = f"no good reason: {why}"
    return Result(kind=file.kind, outcome=outcome, fault=fault)


def _refusal(kind: str, answer: httpx.Response, *allowed: int) -> Result:
    """Return the result of a request that was to be refused, by one of these statuses."""
    status = answer.status_code
    code = answer.json().get("code", "") if status >= 400 else "taken"
    is_right = status in allowed and code
    fault = "" if is_right else f"answered {status}: {answer.text[:200]}"
    return Result(kind=kind, outcome=f"{status} {code}", fault=fault)


def wrong_checksum(sender: Sender, file: HostileFile) -> Result:
    """Announce another checksum."""
    row = sender.announce(file, sha256=hashlib.sha256(b"other").hexdigest()).json()
    sender.put(row, file.content)
    found = sender.ended(row)
    fault = "" if (found["reason"] or {}).get("field") == "/sha256" else str(found)
    return Result(kind="", outcome=f"{found['state']}: checksum", fault=fault)


def too_many_bytes(sender: Sender, file: HostileFile) -> Result:
    """Send more than was announced, with and without its length."""
    row = sender.announce(file).json()
    more = file.content + b"more"
    answer = sender.put(row, more if len(more) % 2 else iter([file.content, b"more"]))
    sender.give_up(row)
    return _refusal("", answer, 400)


def too_few_bytes(sender: Sender, file: HostileFile) -> Result:
    """Send less than was announced, and the rest afterwards."""
    row = sender.announce(file).json()
    half = file.content[: len(file.content) // 2]
    answer = sender.put(row, half)
    judged = _judged(file, sender.finish(row, file.content))
    return judged if judged.fault else _refusal("", answer, 400)


def lying_range(sender: Sender, file: HostileFile) -> Result:
    """Send a range that is none, or not of this file."""
    row = sender.announce(file).json()
    size = len(file.content)
    lies = (f"bytes 0-9/{size + 1}", "bytes 9-0/10", f"bytes 0-{size}/{size}", "x", "bytes */*")
    given = lies[size % len(lies)]
    answer = sender.put(row, b"0123456789", None, **{"Content-Range": given})
    sender.give_up(row)
    return _refusal("", answer, 400)


def overlapping_parts(sender: Sender, file: HostileFile) -> Result:
    """Send a part twice, then one with a gap; then all in order."""
    row = sender.announce(file).json()
    third = len(file.content) // 3
    sender.put(row, file.content[:third], 0)
    answer = sender.put(row, file.content[third - 1 : 2 * third], third - 1)
    gap = sender.put(row, file.content[third + 1 :], third + 1)
    judged = _judged(file, sender.finish(row, file.content))
    wrong = [each for each in (answer, gap) if each.status_code != 409]
    return judged if judged.fault else _refusal("", wrong[0] if wrong else answer, 409)


def at_once(sender: Sender, file: HostileFile) -> Result:
    """Have several send the same at once."""
    row = sender.announce(file).json()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: sender.put(row, file.content, 0), range(3)))
    judged = _judged(file, sender.finish(row, file.content))
    refused = [answer for answer in answers if answer.status_code != 200]
    if len(refused) != 2:
        return Result(kind="", outcome="mixed", fault=f"{len(refused)} of 3 were refused")
    wrong = [answer for answer in refused if answer.status_code != 409]
    return judged if judged.fault else _refusal("", (wrong or refused)[0], 409)


def broken_off(sender: Sender, file: HostileFile) -> Result:
    """Hang up in the midst, then go on."""
    row = sender.announce(file).json()
    sender.break_off(row, file.content[: len(file.content) // 2])
    return _judged(file, sender.finish(row, file.content))


def deserted(sender: Sender, file: HostileFile) -> Result:
    """Hang up in the midst, and never come back: the deletion is what ends it."""
    row = sender.announce(file).json()
    sender.break_off(row, file.content[: len(file.content) // 2])
    found = sender.state(row)["state"]
    sender.give_up(row)
    fault = "" if found == "uploading" else found
    return Result(kind="", outcome=f"{found}, then deleted", fault=fault)


def deleted_meanwhile(sender: Sender, file: HostileFile) -> Result:
    """Delete a dataset while it is checked."""
    row = sender.announce(file).json()
    sender.put(row, file.content)
    answer = sender.client.delete(row["urls"]["self"])
    gone = sender.client.get(row["urls"]["self"])
    return _refusal("", gone if answer.is_success else answer, 404)


def announced_wrong(sender: Sender, file: HostileFile) -> Result:
    """Announce what may not be."""
    lies: tuple[tuple[int, dict[str, Any]], ...] = (
        *((413, {"bytes": 10**12}), (422, {"bytes": -1}), (422, {"format": "pickle"})),
        *((422, {"name": "../../etc"}), (422, {"sha256": "x"}), (422, {"options": {"a": 1}})),
    )
    status, lie = lies[len(file.content) % len(lies)]
    return _refusal("", sender.announce(file, **lie), status)


WAYS: Sequence[Callable[[Sender, HostileFile], Result]] = (
    *(wrong_checksum, too_many_bytes, too_few_bytes, lying_range, overlapping_parts, at_once),
    *(broken_off, deserted, deleted_meanwhile, announced_wrong),
)
"""Bad ways to send a good file."""


def upload(sender: Sender, number: int, seed: int) -> Result:
    """Do the upload of a number: every third is a good file sent in a bad way."""
    if number % 3:
        kinds = list(KINDS)
        kind = kinds[(number - number // 3 - 1) % len(kinds)]
        return whole(sender, made(kind, 10**6 * seed + number))
    way = WAYS[number // 3 % len(WAYS)]
    good = ("arrays in order", "zip in order", "table in order")[number // 3 % 3]
    result = way(sender, made(good, 10**6 * seed + number))
    name = f"sent badly: {way.__name__.replace('_', ' ')}"
    return Result(kind=name, outcome=result.outcome, fault=result.fault)


def storm(urls: Sequence[str], *, number: int, seed: int) -> list[Result]:
    """Do so many uploads, a few at once, and delete what became of them."""
    with contextlib.closing(Sender(urls, random.Random(seed))) as sender:
        return _stormed(sender, number=number, seed=seed)


def _stormed(sender: Sender, *, number: int, seed: int) -> list[Result]:
    def attempt(each: int) -> Result:
        try:
            return upload(sender, each, seed)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            return Result(kind="any", outcome="no answer", fault=f"{each}: {error!r}")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        results = list(pool.map(attempt, range(number)))
    return results + delete_all(sender)


def delete_all(sender: Sender) -> list[Result]:
    """Delete all that was sent, and return what went wrong with it."""
    answers = [sender.client.delete(row["urls"]["self"]) for row in _all(sender.client)]
    return [_refusal("deletion", answer) for answer in answers if not answer.is_success]


def _all(client: httpx.Client) -> list[dict[str, Any]]:
    """Return datasets and weights, which are listed apart."""
    found: list[dict[str, Any]] = []
    for kind in ({}, {"format": "weights"}):
        following: dict[str, Any] | None = {"limit": 100, **kind}
        while following:
            page = client.get("/v1/datasets", params=following).raise_for_status().json()
            found += page["uploaded"]
            more = {"limit": 100, "after": page["next"], **kind}
            following = more if page["has_more"] else None
    return found


def table(results: Sequence[Result], peaks: Mapping[str, int]) -> str:
    """Return what happened, as Markdown."""
    counts = Counter((result.kind, result.outcome) for result in results)
    lines = ["| what was wrong | what became of it | uploads |", "|---|---|---|"]
    lines += [f"| {kind} | {outcome} | {n} |" for (kind, outcome), n in sorted(counts.items())]
    lines += ["", "| process | peak memory, MB | cap, MB |", "|---|---|---|"]
    for kind, most in CAPS.items():
        lines.append(f"| {kind} | {peaks.get(kind, 0) / MEGABYTE:.0f} | {most} |")
    return "\n".join(lines)


def main() -> int:
    """Run the storm and print what happened; 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apis", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="npas-hostile-") as folder:
        home = Path(folder)
        with (
            embedded.running(home) as servers,
            environment(
                NPAS_DATABASE_URL=servers.database_url,
                NPAS_REDIS_URL=servers.redis_url,
                NPAS_HOME=folder,
                **SETTINGS,
            ),
        ):
            migrate.upgrade()
            with watched() as peaks, serving(given.apis) as urls:
                before, since = files(home), time.monotonic()
                results = storm(urls, number=given.number, seed=given.seed)
                seconds = time.monotonic() - since
            left = files(home) - before
    faults = [f"{result.kind}: {result.fault}" for result in results if result.fault]
    faults += [f"left on the disk: {path}" for path in sorted(left)]
    too_much = [kind for kind, most in CAPS.items() if peaks.most[kind] > most * MEGABYTE]
    faults += [f"{kind} used more memory than it may" for kind in too_much]
    told = f"{len(results)} uploads in {seconds:.0f} s, {len(faults)} faults"
    text = "\n".join([table(results, peaks.most), "", told, *faults])
    publish("hostile-uploads", text, write=given.write)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
