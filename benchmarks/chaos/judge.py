"""What became of a storm: how each fault ended, and everything that should not have happened."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import npas
from npas_local.embedded import Servers
from npas_store import artifacts, blobs, fsck, jobs, listings, outbox
from npas_store.database import reading
from npas_store.tables import Artifact, Attempt, Job

from benchmarks.chaos.machine import processes_of
from benchmarks.chaos.service import Service

SAME = ("model.safetensors", "plan.json")
"""Files that do not tell how long something took."""
_GONE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One fault: what happened, at which stage of which claim."""

    fault: str
    stage: str
    job_id: str
    claim_number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a storm did.

    Attributes:
        ends: number of faults, by fault, stage, and what became of the claim that was hit.
        wrong: what should not have happened, one sentence each.
        states: number of jobs of the storm by state in the end.
    """

    ends: Counter[tuple[str, str, str]]
    wrong: tuple[str, ...]
    states: Counter[str]

    def with_remains(self, remains: Iterable[str]) -> Self:
        """Return the outcome with what was left behind, which is wrong, too."""
        return replace(self, wrong=(*self.wrong, *remains))

    @property
    def num_faults(self) -> int:
        """How many struck."""
        return sum(self.ends.values())

    def table(self) -> str:
        """Return the faults by what became of the claim, as a Markdown table."""
        ends = sorted({end for *_, end in self.ends})
        faults = list(dict.fromkeys(fault for fault, *_ in sorted(self.ends)))
        lines = [f"| fault | times | {' | '.join(ends)} |", "|---|---|" + "---|" * len(ends)]
        for fault in faults:
            counts = Counter[str]()
            for (name, _, end), count in self.ends.items():
                if name == fault:
                    counts[end] += count
            cells = " | ".join(str(counts[end] or "") for end in ends)
            lines.append(f"| {fault} | {counts.total()} | {cells} |")
        return "\n".join(lines)


def delivered(methods: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return, by method, the digests of the files that tell no times."""
    return {method: _digests(job_id) for job_id, method in methods.items()}


def _digests(job_id: str) -> dict[str, str]:
    with reading() as session:
        rows: Sequence[Artifact] = artifacts.listing(session, job_id)
        return {row.name: row.sha256 for row in rows if row.name in SAME}


def judged(
    service: Service, hits: Sequence[Hit], right: Mapping[str, Mapping[str, str]]
) -> Outcome:
    """Look at every job once all have ended."""
    wrong = [line for job_id in service.methods for line in _job(service, job_id, right)]
    with reading() as session:
        order, all_jobs = listings.Order(by="created_at"), listings.Filter()
        most = len(service.methods) + 10
        made = listings.jobs(session, all_jobs, order=order, after=None, limit=most).jobs
        wrong += [
            f"{j.id} was made, and not asked for" for j in made if j.id not in service.methods
        ]
        if waiting := outbox.num_unsent(session):
            wrong.append(f"{waiting} messages wait in the outbox")
        rows = [row for job_id in service.methods for row in jobs.attempts(session, job_id)]
        states = Counter(jobs.get(session, job_id).state for job_id in service.methods)
    wrong += [f"claim {a.claim_number} of {a.job_id} has no end" for a in rows if not a.outcome]
    attempts = {(row.job_id, row.claim_number): row for row in rows}
    ends = Counter((hit.fault, hit.stage, _end(attempts, hit)) for hit in hits)
    return Outcome(ends=ends, wrong=tuple(wrong), states=states)


def _job(service: Service, job_id: str, right: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield what is wrong with a job."""
    method = service.methods[job_id]
    with reading() as session:
        job = jobs.get(session, job_id)
        states = [row.to_state for row in listings.histories(session, [job_id])[job_id]]
        files = artifacts.listing(session, job_id)
    allowed = {"succeeded", "cancelled"} if job_id in service.cancelled else {"succeeded"}
    if job.state not in allowed or states.count(job.state) != 1:
        yield f"{job_id} ({method}) went through {states}: {job.reason}"
    if job.state == "succeeded" and (
        len(right[method]) < len(SAME) or _digests(job_id) != right[method]
    ):
        yield f"{job_id} ({method}) delivered other files"
    for row in files:
        state = blobs.state(blobs.Blob(sha256=row.sha256, bytes=row.bytes))
        if state != "stored" and row.sha256 not in service.hit:
            yield f"{row.name} of {job_id} is {state}"
        if state == "stored" and row.name == "model.safetensors" and job.state == "cancelled":
            yield from _network(job, blobs.path(row.sha256))


def _network(job: Job, path: Path) -> Iterator[str]:
    """Yield what is wrong with the network that a cancelled job delivered."""
    total = npas.load(path).plan.ledger.total
    if total > job.budget_parameters:
        yield f"{job.id} delivered {total} parameters for a budget of {job.budget_parameters}"


def _end(attempts: Mapping[tuple[str, int], Attempt], hit: Hit) -> str:
    """Return what became of the claim that was hit."""
    claim = attempts[hit.job_id, hit.claim_number]
    if claim.outcome == "succeeded":
        return "unnoticed"
    if claim.outcome == "cancelled":
        return "delivered early"
    after = [
        attempt
        for (job_id, number), attempt in attempts.items()
        if job_id == hit.job_id and number > hit.claim_number
    ]
    if not after:
        return "cancelled before a network was saved"
    # The next claim may itself be lost before it has read a file.
    return "went on from a file" if any(a.resumed_from_step for a in after) else "began again"


def leaks(hit: Set[str]) -> Iterator[str]:
    """Yield what rows and files do not agree on, but for what a fault did.

    What a kill left unneeded waits for its hour; here it is taken away at once.

    Args:
        hit: digests of delivered files that were damaged or deleted.
    """
    for finding in [*fsck.findings(seconds=0)]:
        if finding.kind == "unneeded" and finding.repair is not None:
            finding.repair()
    for finding in fsck.findings(seconds=0):
        is_struck = finding.file.name in hit or finding.told.startswith("resume file")
        if not is_struck:
            yield f"{finding.kind}: {finding.file} ({finding.told})"


def remains(home: Path, servers: Servers) -> Iterator[str]:
    """Yield what is left though the service was stopped and all jobs have ended.

    Args:
        home: the service's folder.
        servers: that still run; who was started again has our environment.
    """
    own = {child.pid for child in servers.children.values()}
    give_up = time.monotonic() + _GONE_SECONDS
    while (left := _others(home, own)) and time.monotonic() < give_up:
        time.sleep(0.2)
    yield from (f"process {pid} still runs: {command}" for pid, command in left.items())
    yield from (f"a draft was left: {path}" for path in home.glob("blobs/**/.*") if path.is_file())


def _others(home: Path, own: Set[int]) -> dict[int, str]:
    return {pid: command for pid, command in processes_of(home).items() if pid not in own}
