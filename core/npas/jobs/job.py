"""The phases of one job: a teacher is trained, layers are searched, the network is trained.

Each phase may be interrupted after any step; a resume file says where to go on.
"""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from npas import data, methods, train
from npas.arch.matching import resolve_for
from npas.data import Dataset, Inputs
from npas.delivery.deliver import Result, deliver
from npas.errors import PlanError
from npas.folding.penalty import recurrence_penalty
from npas.folding.similarity import History
from npas.jobs import identity, race
from npas.jobs.distillation import STAGE as TEACHER
from npas.jobs.distillation import Ensemble, Teaching
from npas.jobs.listener import PROGRESS_SECONDS
from npas.jobs.progress import Pace
from npas.jobs.promise import check_promise, outdated
from npas.jobs.revisions import REFINED, REQUESTED, SEARCHED, SEARCHING, Revisions, shared_model
from npas.planning.planner import plan as make_plan
from npas.plans import Plan, Stage
from npas.plans.evidence import Evidence
from npas.sharing import build
from npas.spec import TrainingSpec
from npas.train import Row, State, Trainer, Wish


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        finished: False after a pause; then there are no files, but a resume file.
        plan: of the delivered network; after a pause, the one in force.
        stopped_early: whether "finish" ended it before all epochs.
        report: plain JSON: sizes, accuracy, search, versions; empty after a pause.
        files: by name: model.safetensors, and those of `npas.artifacts`.
    """

    finished: bool
    plan: Plan
    stopped_early: bool = False
    report: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


class Job:
    """What one run knows while it goes on."""

    def __init__(
        self,
        race: race.Held,
        *,
        promised: Plan | None,
        folder: Path,
        data_folder: Path | None,
        device: torch.device,
        checkpoint_seconds: float,
    ) -> None:
        """Load the data and plan with the request alone; nothing is trained yet.

        Args:
            race: that is over.
            promised: the plan that the job was accepted with, or that won; None: plan now.
            folder: for the files; resume files go to its subfolder "state".
            data_folder: where datasets are; None: the default one.
            device: where to train.
            checkpoint_seconds: least time between resume files; 0: one after each epoch.

        Raises:
            NpasError: the request, its data or the promised plan cannot be used.
        """
        self.race, self.folder, self.listener = race, folder, race.listener
        self.spec = spec = race.spec
        self.checkpoint_seconds = checkpoint_seconds
        self.started = self.saved = self.told = time.monotonic()
        self.listener.phase("preparing")
        self.device = device
        self.dataset: Dataset = data.load(spec.dataset, data_folder)
        self.networks = resolve_for(spec.members(), self.dataset.sizes, task=self.dataset.task)
        size = self.networks[0].architecture.input_size
        self.inputs: Inputs = self.dataset.inputs(input_size=size)
        self.teaching = Teaching(
            spec.training, self.dataset, inputs=self.inputs, folder=data_folder, device=self.device
        )
        # By the name that it has today: the request's may have meant another method then.
        self.method = method = methods.maker_of(promised) if promised else spec.method
        found = methods.find(method.name)
        options = methods.checked_options(found, method)
        self.revisions = Revisions(found, options, epochs=spec.training.epochs)
        if promised is not None and race.state is None:  # a state is held to its job in `_check`
            check_promise(promised, spec, self.networks)
        self._adopt(REQUESTED, promised or self._plan())
        if race.state is None:  # who goes on has been told
            for idle in methods.idle_options(self.plan):
                self.listener.event("idle_option", idle, {})
        self.search_epochs = found.search_epochs(options, epochs=spec.training.epochs)
        self.given: Evidence | None = None
        self.evidence: Evidence | None = None
        self.search_rows: list[Row] = []
        self.history = History()
        self.seconds_before = race.seconds
        self.trainer: Trainer | None = None

    def take(self, evidence: Evidence) -> None:
        """Plan with what was measured before, and do not search."""
        self.given = self.evidence = evidence
        self.search_epochs = 0
        self._adopt(SEARCHING, self._plan(evidence=evidence))

    def _adopt(self, version: int, plan: Plan) -> None:
        """Put a plan in force, and tell it."""
        self.plan = self.revisions.plans[version] = plan
        self.listener.plan(version, plan)

    def run(self, state: State | None) -> Outcome:
        """Go through the phases, from the start or from a state."""
        if state is not None:
            self._check(state)
        if self.teaching.epochs:
            wish = self._teach(state)
            if wish:
                return self._end(wish)
            state = state if state and state.facts["stage"] != TEACHER else None
        if self.search_epochs and (state is None or state.facts["stage"] == "search"):
            wish = self._search(state)
            if wish:
                return self._end(wish)
            state = None
        return self._end(self._train(state))

    def _teach(self, state: State | None) -> Wish:
        """Train the teacher, or take it from a state of what came after it."""
        model = Ensemble(build.networks(self.networks, seed=self.spec.seed)).to(self.device)
        if state is not None and state.facts["stage"] != TEACHER:
            for row in self.teaching.restore(model, state):
                self.listener.metrics(asdict(row))
            return ""
        trainer = self._started(self._new_trainer(model, TEACHER), state)
        self.listener.phase("teaching")
        wish = self._advance(trainer)
        if wish == "finish":
            self._trainer("train", None)  # delivered as it is: there was no time to learn
        if not wish:
            self.teaching.take(trainer)
            epochs = len(trainer.rows)
            self.listener.event("taught", f"epochs of the teacher: {epochs}", {"epochs": epochs})
        return wish

    def _search(self, state: State | None) -> Wish:
        """Train the tied plan briefly, measure, and plan again."""
        self._adopt(SEARCHING, self._plan(stage="search"))
        trainer = self._trainer("search", state)
        self.listener.phase("searching")
        if self.teaching.epochs and state is None:
            self._save()  # the teacher is not trained again
        wish = self._advance(trainer)
        if wish:
            return wish
        self.evidence = self.revisions.measured(trainer)
        self.search_rows = trainer.rows
        self._adopt(SEARCHED, self._plan(evidence=self.evidence))
        self.listener.event(
            "searched",
            f"epochs of search: {len(trainer.rows)}; groups that share: {len(self.plan.groups)}",
            {"epochs": len(trainer.rows), "groups": len(self.plan.groups)},
        )
        return ""

    def _train(self, state: State | None) -> Wish:
        """Train the plan in force from fresh weights."""
        if state is not None:
            facts = state.facts
            for version, plan in self.revisions.restore(facts["revisions"]):
                self._adopt(version, plan)
            self.search_rows = [Row(**row) for row in facts["search_rows"]]
            if facts["evidence"]:
                self.evidence = Evidence.from_json(facts["evidence"])
            self.history.restore(self.plan, state.tensors)
        trainer = self._trainer("train", state)
        self.listener.phase("training")
        if state is None:
            self.history.record(shared_model(trainer), 0)
            if self.search_epochs or self.teaching.epochs:
                self._save()  # what came before is not done again
        until = self.revisions.step_of_refinement(trainer)
        if until is not None:
            wish = self._advance(trainer, until)
            if wish:
                return wish
            self._refine(trainer)
        return self._advance(trainer)

    def _refine(self, trainer: Trainer) -> None:
        """Change the plan in the midst of the training; nothing jumps."""
        self._adopt(REFINED, self.revisions.refined(trainer))
        told = self.revisions.refinement or {}
        self.listener.event(
            "refined",
            f"after epoch {told['epoch']}; rows of coefficients: {told['rows_before']} before, "
            f"{told['rows_after']} now",
            {"epoch": told["epoch"], "rows": told["rows_after"]},
        )

    def _trainer(self, stage: Stage, state: State | None) -> Trainer:
        try:
            model = build.model(self.plan, seed=self.spec.seed).to(self.device)
        except PlanError as error:
            raise outdated(error) from error
        return self._started(self._new_trainer(model, stage), state)

    def _new_trainer(self, model: torch.nn.Module, stage: str) -> Trainer:
        training = self.spec.training
        if stage == TEACHER:
            training = training.model_copy(update={"distillation": None})
        return Trainer(
            model,
            self.dataset,
            self._search_training() if stage == "search" else training,
            inputs=self.inputs,
            seed=self.spec.seed,
            stage=stage,
            device=self.device,
            penalty=None if stage == TEACHER else recurrence_penalty(self.plan),
            teacher=None if stage == TEACHER else self.teaching.teacher,
        )

    def _started(self, trainer: Trainer, state: State | None) -> Trainer:
        if state is not None:
            trainer.restore(state)
        for row in trainer.rows:
            self.listener.metrics(asdict(row))
        self.trainer = trainer
        stages = (race.STAGE, TEACHER, "search", "train")
        epochs = (
            self.race.epochs,
            self.teaching.epochs,
            self.search_epochs,
            self.spec.training.epochs,
        )
        self.pace = Pace(trainer, dict(zip(stages, epochs, strict=True)))
        return trainer

    def _search_training(self) -> TrainingSpec:
        """Train as asked, but briefly and with the full learning rate throughout."""
        changes = {"epochs": self.search_epochs, "schedule": "step", "milestones": ()}
        return self.spec.training.model_copy(update=changes)

    def _advance(self, trainer: Trainer, until: int | None = None) -> Wish:
        return trainer.train(
            after_step=self._after_step, after_epoch=self._after_epoch, until=until
        )

    def _after_step(self) -> Wish:
        now = time.monotonic()
        if now - self.told >= PROGRESS_SECONDS:
            self.told = now
            self.listener.progress(*self.pace.progress(now))
        wish = self.listener.stop()
        due = now - self.saved >= self.checkpoint_seconds > 0
        if wish == "pause" or due:
            self._save()
        return wish

    def _after_epoch(self, row: Row) -> None:
        self.listener.metrics(asdict(row))
        if row.stage == "train" and self.trainer is not None:
            self.history.record(shared_model(self.trainer), row.epoch)
        if time.monotonic() - self.saved >= self.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        assert self.trainer is not None
        state = self.trainer.state()
        facts = {
            **state.facts,
            "request": identity.request_digest(self.spec, self.given),
            "dataset": self.dataset.fingerprint,
            "revisions": self.revisions.facts(),
            "evidence": self.evidence.to_json() if self.evidence else None,
            "search_rows": [asdict(row) for row in self.search_rows],
            "job_seconds": self._seconds(),
            "teaching": self.teaching.facts(),
            "race": self.race.report,
        }
        tensors = {**state.tensors, **self.teaching.tensors(), **self.history.tensors()}
        step = self.pace.step
        path = train.write(State(tensors=tensors, facts=facts), self.folder / "state", step)
        self.saved = time.monotonic()
        self.listener.checkpoint(path, step)

    def _check(self, state: State) -> None:
        facts = state.facts
        identity.check(facts, identity.request_digest(self.spec, self.given))
        identity.check_dataset(facts, self.dataset)
        self.teaching.check(state)
        self.seconds_before = facts["job_seconds"]

    def _end(self, wish: Wish) -> Outcome:
        """Deliver, unless the run is only paused."""
        trainer = self.trainer
        assert trainer is not None
        if wish == "pause":
            return Outcome(finished=False, plan=self.plan)
        self.listener.phase("evaluating")
        best_epoch, accuracy = trainer.choose()
        is_search = trainer.stage == "search"
        search_rows = tuple(trainer.rows if is_search else self.search_rows)
        rows = () if is_search else tuple(trainer.rows)
        result = Result(
            spec=self.spec,
            plan=self.plan,
            dataset=self.dataset,
            inputs=self.inputs,
            device=self.device,
            search_rows=search_rows,
            rows=rows,
            history=self.history,
            plans=self.revisions.plans,
            costs=self.revisions.report(search_rows, rows),
            best_epoch=best_epoch,
            validation_accuracy=accuracy,
            stopped_early=bool(wish),
            distillation=self.teaching.report(),
            race=self.race.report,
            seconds=self._seconds(),
        )
        report, files = deliver(shared_model(trainer), result, self.folder)
        self.listener.progress(1.0, 0.0)
        return Outcome(
            finished=True, stopped_early=bool(wish), plan=self.plan, report=report, files=files
        )

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _plan(self, *, stage: Stage = "train", evidence: Evidence | None = None) -> Plan:
        return make_plan(
            self.networks,
            budget=self.spec.budget,
            method=self.method,
            stage=stage,
            evidence=evidence,
            unshared=self.spec.unshared,
            share_embeddings=self.spec.share_embeddings,
        )
