"""A race: which method suits this budget and these data, found by short trainings.

Source: successive halving, Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", AISTATS 2016. All candidates train briefly, the better half goes on
to a longer training, until one is left. Differences: every training starts anew with a whole
schedule of its own length, since a network in the middle of a long schedule says little about its
end, and lengths grow faster than the field shrinks, for the same reason; candidates are compared
by the negative log likelihood of held-out training images, which tells them apart on fewer images
than accuracy does. The test images are never looked at.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from npas import data, methods, train
from npas.arch.matching import resolve_for
from npas.errors import NonFiniteLossError
from npas.jobs import bracket, identity
from npas.jobs.bracket import Trial
from npas.jobs.listener import PROGRESS_SECONDS, Listener
from npas.jobs.revisions import Revisions
from npas.methods import Contest
from npas.planning.planner import plan as make_plan
from npas.plans import Plan
from npas.sharing import build
from npas.spec import JobSpec, TrainingSpec
from npas.train import Row, State, Trainer, Wish
from npas.train.evaluate import evaluate

STAGE = "race"
"""Of the states that a race saves, and of its part in a job's steps."""


class Race:
    """The race of one job. It can be paused between and in trainings; those done are kept."""

    def __init__(
        self,
        spec: JobSpec,
        contest: Contest,
        *,
        request: str,
        folder: Path,
        listener: Listener,
        data_folder: Path | None,
        device: torch.device,
        checkpoint_seconds: float,
    ) -> None:
        """Enter the candidates; nothing is trained yet.

        Args:
            spec: the job.
            contest: of its method.
            request: what tells this job from others.
            folder: of the job.
            listener: hears how it goes and may stop it.
            data_folder: where datasets are.
            device: where to train.
            checkpoint_seconds: least time between resume files; 0: one after each training.
        """
        self.spec, self.request, self.folder, self.listener = spec, request, folder, listener
        self.device, self.checkpoint_seconds = device, checkpoint_seconds
        listener.phase("preparing")
        self.plan = make_plan(spec, data_folder=data_folder)
        listener.plan(0, self.plan)
        self.rules = contest
        self.candidates, self.infeasible = bracket.entered(spec, contest, data_folder)
        self.dataset = data.load(spec.dataset, data_folder)
        self.networks = resolve_for(spec.members(), self.dataset.sizes, task=self.dataset.task)
        self.rungs = bracket.rungs(len(self.candidates), spec.training.epochs, self.rules)
        self.trials: dict[tuple[int, int], Trial] = {}
        self.started = self.saved = self.told = time.monotonic()

    @property
    def epochs(self) -> int:
        """Epochs of all trainings of the race."""
        return sum(size * epochs for size, epochs in self.rungs)

    def run(self) -> Wish:
        """Race until one is left; "finish" makes do with what is known."""
        self.listener.phase("searching")
        alive = list(range(len(self.candidates)))
        for size, epochs in self.rungs:
            alive = alive[:size]
            for candidate in alive:
                wish = "" if (candidate, epochs) in self.trials else self._try(candidate, epochs)
                if wish == "pause":
                    self._save()
                if wish:
                    return wish
            alive = self.ranking(epochs)
        self.listener.event("chosen", self.why(), {"method": bracket.called(self.winner.method)})
        return ""

    def ranking(self, epochs: int) -> list[int]:
        """Return the candidates of a round, the best first; equal ones in their order."""
        round_ = {c: trial for (c, length), trial in self.trials.items() if length == epochs}
        return sorted(round_, key=lambda c: (_loss(round_[c]), c))

    @property
    def winner(self) -> bracket.Candidate:
        """The best of the longest round that is complete; before one, the first candidate."""
        for size, epochs in reversed(self.rungs):
            ranking = self.ranking(epochs)
            if len(ranking) == size:
                return self.candidates[ranking[0]]
        return self.candidates[0]

    def _try(self, candidate: int, epochs: int) -> Wish:
        """Train a candidate and compare it; a state is saved when it is due."""
        started = time.monotonic()
        trainer = self._trainer(self.candidates[candidate].plan, epochs)
        nll = score = None
        try:
            wish = trainer.train(
                after_step=lambda: self._after_step(trainer), after_epoch=_ignored
            )
            if wish:
                return wish
            images, labels = trainer.batches.validation
            graded = evaluate(
                trainer.model, images, labels, inputs=trainer.inputs, device=self.device
            )
        except NonFiniteLossError:
            trainer.step = trainer.total_steps  # a network that diverges has lost
        else:
            nll, score = graded.nll, graded.score
        trial = Trial(
            candidate=candidate,
            epochs=epochs,
            steps=trainer.step,
            nll=nll,
            score=score,
            seconds=round(time.monotonic() - started, 3),
        )
        self.trials[candidate, epochs] = trial
        self._tell(trial)
        if time.monotonic() - self.saved >= self.checkpoint_seconds:
            self._save()
        return ""

    def _trainer(self, plan: Plan, epochs: int) -> Trainer:
        seed = self.spec.seed
        model = build.model(plan, seed=seed).to(self.device)
        size = plan.networks[0].architecture.input_size
        return Trainer(
            model,
            self.dataset,
            self._training(epochs),
            inputs=self.dataset.inputs(input_size=size),
            seed=seed,
            stage=STAGE,
            device=self.device,
        )

    def _training(self, epochs: int) -> TrainingSpec:
        """Return the whole schedule, squeezed into fewer epochs."""
        asked = self.spec.training
        changes = {
            "epochs": epochs,
            "warmup_epochs": asked.warmup_epochs * epochs / asked.epochs,
            "validation_fraction": max(asked.validation_fraction, self.rules.held_out),
            "keep": "last",
            "distillation": None,
        }
        return asked.model_copy(update=changes)

    def _after_step(self, trainer: Trainer) -> Wish:
        now = time.monotonic()
        if now - self.told >= PROGRESS_SECONDS:
            self.told = now
            steps = sum(trial.steps for trial in self.trials.values()) + trainer.step
            total = self.epochs + self._later_epochs()
            self.listener.progress(0.99 * steps / (total * trainer.steps_per_epoch), None)
        return self.listener.stop()

    def _later_epochs(self) -> int:
        """Return the most epochs that may follow the race."""
        epochs = self.spec.training.epochs
        found = [0]
        for candidate in self.candidates:
            method = methods.find(candidate.method.name)
            options = methods.checked_options(method, candidate.method)
            found.append(method.search_epochs(options, epochs=epochs))
        return epochs + max(found)

    def _tell(self, trial: Trial) -> None:
        name = bracket.called(self.candidates[trial.candidate].method)
        found = "diverged" if trial.nll is None else f"loss {trial.nll:.3f}"
        self.listener.event(
            "raced",
            f"{name}, epochs: {trial.epochs}: {found}",
            {"method": name, **asdict(trial)},
        )

    def _save(self) -> None:
        facts = {"stage": STAGE, "dataset": self.dataset.fingerprint, **self.report()}
        step = sum(trial.steps for trial in self.trials.values())
        path = train.write(State(tensors={}, facts=facts), self.folder / "state", step)
        self.saved = time.monotonic()
        self.listener.checkpoint(path, step)

    def restore(self, facts: Mapping[str, Any] | None) -> None:
        """Take over the trainings that are done.

        Candidates are known by what they are, not by their places: a race that another release
        began may have had others, or others by the same names.

        Args:
            facts: a report of this race, or of its beginning.

        Raises:
            CheckpointError: it is of another request.
        """
        facts = facts or {}
        identity.check(facts, self.request)
        mine = [_entry(each) for each in self.candidates]
        for told in facts["trials"]:
            entry = facts["candidates"][told["candidate"]]
            if entry in mine:
                trial = Trial(**told | {"candidate": mine.index(entry)})
                self.trials[trial.candidate, trial.epochs] = trial

    def why(self) -> str:
        """Return the choice and its reason as a sentence."""
        winner = self.winner
        name = bracket.called(winner.method)
        if not self.rungs:
            reason = f"{name} is the only method that fits the budget"
        elif not self.trials:
            reason = f"{name}: stopped before anything was raced"
        else:
            reason = self._comparison(name)
        if winner.plan.groups:
            return reason
        if winner.plan.networks == self.networks:
            return f"do not share: the network as it is fits the budget, and {reason}"
        return f"do not share: a narrower network is better here, and {reason}"

    def _comparison(self, name: str) -> str:
        for size, epochs in reversed(self.rungs):
            ranking = self.ranking(epochs)
            if len(ranking) == size:
                first, second = (self.trials[c, epochs] for c in ranking[:2])
                other = bracket.called(self.candidates[second.candidate].method)
                return (
                    f"{name} had the lowest loss on held-out training images in the last round of "
                    f"{size} methods, epochs: {epochs}: {_told(first)}, before {other}, "
                    f"{_told(second)}"
                )
        return f"{name} is taken, as no round of the race was completed"

    def report(self) -> dict[str, Any]:
        """Return what was raced, what it cost and why the winner was chosen; plain JSON."""
        trials = list(self.trials.values())
        return {
            "request": self.request,
            "method": bracket.called(self.winner.method),
            "why": self.why(),
            "candidates": [_entry(each) for each in self.candidates],
            "trials": [asdict(trial) for trial in trials],
            "infeasible": self.infeasible,
            "epochs": self.epochs,
            "share_of_training": round(
                sum(trial.epochs for trial in trials) / self.spec.training.epochs, 4
            ),
            "seconds": round(sum(trial.seconds for trial in trials), 3),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A race that is over or paused, or that there was no need of.

    Attributes:
        spec: the job with the winner as its method.
        listener: who hears the rest of the job.
        state: of the job, where it goes on; None to start.
        wish: what ended the race; "" if it came to its end.
        plan: the winner's; after a pause, the one that the job was accepted with; None of no race.
        report: what was raced, what it cost and why the winner was chosen, plain JSON; None of no
            race.
    """

    spec: JobSpec
    listener: Listener
    state: State | None
    wish: Wish = ""
    plan: Plan | None = None
    report: dict[str, Any] | None = None

    @property
    def epochs(self) -> int:
        """Epochs of all trainings of the race."""
        return int(self.report["epochs"]) if self.report else 0

    @property
    def seconds(self) -> float:
        """What the race took, pauses left out."""
        return float(self.report["seconds"]) if self.report else 0.0


def held(spec: JobSpec, state: State | None, *, listener: Listener, **place: Any) -> Held:
    """Race, go on with a race, or take the winner of a race from a state of what came after it.

    Args:
        spec: the job; where its method has no contest, nothing is raced.
        state: of the race, or of the job after it.
        listener: hears how it goes and may stop it.
        **place: the other arguments of `Race`.

    Raises:
        CheckpointError: the state is of another request.
        DataError: the dataset is not what the state is of.
    """
    contest = bracket.contest_of(spec)
    if contest is None:
        return Held(spec=spec, listener=listener, state=state)
    race = Race(spec, contest, listener=listener, **place)
    is_over = state is not None and state.facts["stage"] != STAGE
    if state is not None:
        identity.check_dataset(state.facts, race.dataset)
        race.restore(state.facts.get("race") if is_over else state.facts)
    if is_over:
        assert state is not None
        began = Revisions.first(state.facts["revisions"])
        return Held(
            spec=spec.model_copy(update={"method": methods.written(began)}),
            listener=Later(listener),
            state=state,
            plan=began,
            report=state.facts["race"],
        )
    wish = race.run()
    winner = race.winner
    return Held(
        spec=spec.model_copy(update={"method": winner.method}),
        listener=Later(listener),
        state=None,
        wish=wish,
        plan=race.plan if wish == "pause" else winner.plan,
        report=race.report(),
    )


class Later:
    """Hears what comes after a race: its plans follow the one that the job was accepted with."""

    def __init__(self, listener: Listener) -> None:
        """Pass everything on."""
        self._listener = listener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def plan(self, version: int, plan: Plan) -> None:
        """Pass a plan on under the next number."""
        self._listener.plan(version + 1, plan)


def _entry(candidate: bracket.Candidate) -> dict[str, Any]:
    """Return what tells a candidate from others, in a report."""
    name = bracket.called(candidate.method)
    return {"method": name, "parameters": candidate.plan.ledger.total}


def _ignored(row: Row) -> None:
    """Keep nothing of an epoch."""


def _loss(trial: Trial) -> float:
    return math.inf if trial.nll is None else trial.nll


def _told(trial: Trial) -> str:
    return "diverged" if trial.nll is None else f"{trial.nll:.3f}"
