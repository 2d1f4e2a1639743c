"""Trains arms that are jobs: one for all networks in one bank, or one for each network."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npas
from npas.arch.footprint import footprint
from npas.jobs import devices
from npas.jobs.listener import Phase
from npas.run import run
from npas.sharing.model import SharedModel
from npas.spec import JobSpec
from npas.train import saved
from npas.train.batches import num_batches

from benchmarks.ensembles.arms import Cell, jobs
from benchmarks.ensembles.clock import ProcessorClock
from benchmarks.ensembles.images import loaded
from benchmarks.ensembles.settings import Setting
from benchmarks.ensembles.trained import Trained, asked_apart, train_macs
from benchmarks.peers.fitting import num_parameters
from benchmarks.runs import Ear, Place, write

_SECONDS_BETWEEN_SAVES = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """What a job came to.

    Attributes:
        model: that it delivered.
        epochs: of its search and its training.
        rows: of its epochs; after a pause, not those of stages that were over before.
        seconds: of a processor.
    """

    model: SharedModel
    epochs: int
    rows: list[dict[str, Any]]
    seconds: float


class TimingEar(Ear):
    """Has a clock count while something is trained, searches too, and not while it is graded."""

    def __init__(self, stopping: Any, clock: ProcessorClock) -> None:
        """Listen to an event, and tell a clock."""
        super().__init__(stopping)
        self.clock = clock

    def phase(self, name: Phase) -> None:
        """Hear that a phase begins."""
        if name in ("searching", "training"):
            self.clock.start()
        else:
            self.clock.stop()


def delivered(
    spec: JobSpec, folder: Path, place: Place, stopping: Any, start: Path | None = None
) -> Delivered | None:
    """Do a job, going on where it was paused; one that is done is read. None: paused again.

    Args:
        spec: the job.
        folder: for its files.
        place: where the data are, and what computes.
        stopping: event that pauses it.
        start: the model file that it starts from.
    """
    about, file = folder / "done.json", folder / "model.safetensors"
    clock = ProcessorClock(folder / "clock.json")
    if not about.exists():
        ear, states = TimingEar(stopping, clock), saved(folder / "state")
        outcome = run(
            spec,
            folder=folder,
            listener=ear,
            data_folder=place.data,
            resume_from=states[0] if states else None,
            device=place.device,
            checkpoint_seconds=_SECONDS_BETWEEN_SAVES,
            start=start,
        )
        clock.stop()
        if not outcome.finished:
            return None
        report = outcome.report
        searched = report["search"]["epochs"] if report["search"] else 0
        facts = {"rows": list(ear.rows.values()), "epochs": searched + report["epochs_done"]}
        write(about, facts)
    known = json.loads(about.read_text())
    return Delivered(model=npas.load(file), seconds=clock.seconds, **known)


def trained_by_jobs(
    setting: Setting, cell: Cell, folder: Path, place: Place, stopping: Any
) -> Trained | None:
    """Train all networks of an arm, going on where it was paused; None: paused again."""
    found: list[Delivered] = []
    for name, spec in jobs(setting, cell).items():
        made = delivered(spec, folder / name, place, stopping)
        if made is None:
            return None
        found.append(made)
    dataset = loaded(setting.dataset, place.data)
    specs = {n.name: n.architecture for each in found for n in each.model.plan.networks}
    sizes = {spec.input_size for spec in specs.values()}
    inputs = dataset.inputs(input_size=sizes.pop())
    image = inputs(dataset.x_test[:1])
    seen = len(dataset.y_train)
    steps = num_batches(seen, setting.training.batch_size)
    networks = {n: m for each in found for n, m in each.model.materialise().items()}
    return Trained(
        ask=asked_apart(networks, inputs=inputs, device=devices.device(place.device)),
        answer=tuple(specs),
        macs={name: footprint(spec, batch=2).macs for name, spec in specs.items()},
        cost="sum",
        parameters=sum(num_parameters(each.model) for each in found),
        train_macs=sum(
            train_macs(each.model, image, images=seen * each.epochs, steps=steps * each.epochs)
            for each in found
        ),
        seconds=sum(each.seconds for each in found),
        rows=[row for each in found for row in each.rows],
    )
