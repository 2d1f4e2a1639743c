"""The storm itself: jobs are asked for, faults strike, then the service lives until it is calm."""

import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos import judge
from benchmarks.chaos.faults import FAULTS, Strike
from benchmarks.chaos.judge import Hit, Outcome
from benchmarks.chaos.service import Service, Target, running

METHODS = ("superweights", "dense", "uniform")
STAGES = ("fork", "start", "training", "publishing")
_AT_ONCE = 5
"""Jobs that wait or run at the same time."""
_LONGEST_WAIT = 20.0  # seconds for a stage to come, then the fault strikes whatever there is
_LONGEST_CALM = 3600.0  # seconds
_TRIES = 20
"""Of a fault that cannot be done at the moment, before it is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """How bad it gets.

    Attributes:
        num_jobs: in the storm; the undisturbed ones come on top.
        num_faults: at most; fewer if all jobs end before.
        epochs: of each training.
        seed: of all that is left to chance.
        faults: names of those that strike, in turn.
    """

    num_jobs: int
    num_faults: int
    epochs: int
    seed: int
    faults: Sequence[str] = tuple(FAULTS)


def run(folder: Path, weather: Weather) -> Outcome:
    """Run a storm below an empty folder."""
    chance = random.Random(weather.seed)
    with running(folder, epochs=weather.epochs) as service:
        service.left = list(METHODS[: weather.num_jobs])
        while service.left:
            service.submit()
        _until_calm(service)
        right = judge.delivered(service.methods)
        service.left = [METHODS[n % len(METHODS)] for n in range(weather.num_jobs)]
        hits = _struck(service, weather, chance)
        while service.left:
            _keep_busy(service)
            service.round()
        _until_calm(service)
        outcome = judge.judged(service, hits, right)
        leaks = [*judge.leaks(service.hit)]
        service.stop()
        remains = judge.remains(service.disk.folder, service.servers)
        return outcome.with_remains([*leaks, *remains])


def _struck(service: Service, weather: Weather, chance: random.Random) -> list[Hit]:
    """Strike as often as wished, or until all jobs have ended; return what was hit."""
    hits: list[Hit] = []
    refused = dict.fromkeys(weather.faults, 0)
    for name in _in_turn(weather.faults, chance):
        if len(hits) >= weather.num_faults or min(refused.values()) >= _TRIES:
            break
        if refused[name] >= _TRIES:
            continue
        target = _target(service, chance.choice(STAGES), chance)
        if target is None:
            break
        if FAULTS[name](Strike(service=service, target=target, chance=chance)):
            hits.append(
                Hit(
                    fault=name,
                    stage=target.stage,
                    job_id=target.job.id,
                    claim_number=target.job.claim_number,
                )
            )
            _tell(f"{len(hits)} of {weather.num_faults} faults: {name}, {target.stage}", service)
        else:
            refused[name] += 1
    return hits


def _tell(what: str, service: Service) -> None:
    """Show progress on standard error."""
    told = f"{what}; {len(service.left)} jobs are still to be asked for"
    print(f"{time.strftime('%H:%M:%S')} {told}", file=sys.stderr, flush=True)


def _in_turn(names: Sequence[str], chance: random.Random) -> Iterator[str]:
    """Yield the faults for ever, each as often as any other, in an order of chance."""
    while True:
        yield from chance.sample(names, len(names))


def _keep_busy(service: Service) -> None:
    while service.left and len(service.live()) < _AT_ONCE:
        service.submit()


def _target(service: Service, stage: str, chance: random.Random) -> Target | None:
    """Wait for a training at a stage, and for a moment in it; None: all jobs have ended.

    At any stage, where no job is left to be asked for: those that live may be past it.
    """
    give_up = time.monotonic() + _LONGEST_WAIT
    while True:
        _keep_busy(service)
        targets = service.targets()
        found = [target for target in targets if target.stage == stage]
        if time.monotonic() > give_up or not service.left:
            found = targets  # no other will come by
        if found:
            chosen = chance.choice(found)
            time.sleep(chance.uniform(0, 0.5))
            now = {target.training: target for target in service.targets()}
            if chosen.training in now:
                return now[chosen.training]
        elif not service.live() and not service.left:
            return None
        service.round()


def _until_calm(service: Service) -> None:
    """Let the service live until every job has ended.

    Raises:
        TimeoutError: some never do.
    """
    give_up = time.monotonic() + _LONGEST_CALM
    while waiting := service.live():
        if time.monotonic() > give_up:
            raise TimeoutError(str([(job.id, job.state, job.reason) for job in waiting]))
        service.round()
