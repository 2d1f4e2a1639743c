"""The stage that chooses the method: each candidate of a bracket is trained briefly."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from npas import methods
from npas.errors import NonFiniteLossError
from npas.jobs import identity, race_account, resume
from npas.jobs.beginning import beginning
from npas.jobs.bracket import Bracket, Trial
from npas.jobs.candidates import Candidate, called
from npas.jobs.clock import Clock
from npas.jobs.context import RunContext, StageName
from npas.jobs.distillation import own_epochs
from npas.jobs.promise import check_promise, outdated
from npas.jobs.resume import ResumeFile
from npas.methods import Contest
from npas.planning.planner import solve
from npas.plans import Plan
from npas.spec import TrainingSpec
from npas.train import Command, Row, State, Trainer
from npas.train.evaluate import evaluate

_REFERENCE = "reference/"
"""Names the losses of the reference in a resume file, with the epochs of its training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raced:
    """A race that is over or paused, or that there was no need of.

    Attributes:
        context: of what follows: its method is the winner; after a pause, the job's.
        command: what ended the race; CONTINUE if it came to its end.
        plan: the winner's; after a pause, the one that the job was accepted with; None of no race.
        report: what was raced, what it cost and why the winner was chosen, plain JSON; None of no
            race.
        resume: of what follows, where that has begun already.
    """

    context: RunContext
    command: Command = Command.CONTINUE
    plan: Plan | None = None
    report: Mapping[str, Any] | None = None
    resume: ResumeFile | None = None


def race(context: RunContext, resume_file: ResumeFile | None, *, accepted: Plan | None) -> Raced:
    """Race, go on with a race, or take the winner of a race from a file of what came after it.

    Args:
        context: of the job; where its method has no contest, nothing is raced.
        resume_file: of the race, or of the job after it.
        accepted: the plan that the job was accepted with, in force until the race has a winner;
            None: it is made now.

    Raises:
        CheckpointError: the file is of another request.
        PlanError: the accepted plan is not one for this job, or not any more.
        InfeasibleBudgetError: there is no accepted plan, and none fits the budget.
        DataError: the dataset is not what the file is of.
    """
    contest = context.problem.contest
    if contest is None:
        if resume_file is not None and resume_file.stage is StageName.RACE:
            raise resume.another_request()
        return Raced(context=context, resume=resume_file)
    request = identity.request_digest(context.spec, context.evidence)
    if resume_file is not None:
        resume_file.check_dataset(context)
        if resume_file.race is None or resume_file.race.request != request:
            raise resume.another_request()
        if resume_file.stage is not StageName.RACE:
            return _over(context, resume_file)
    context.listener.phase("preparing")
    if accepted is None:
        accepted = solve(context.problem)
    else:
        check_promise(accepted, context.spec, context.problem)
    context.listener.plan(0, accepted)
    ours = Race(context, contest, request=request)
    if not ours.bracket.candidates:
        raise outdated("none of the methods to race fits its budget")
    if resume_file is not None:
        ours.restore(resume_file)
    command = ours.run()
    winner = ours.bracket.winner
    is_paused = command is Command.PAUSE
    after = context if is_paused else context.raced(winner.method, winner.plan.networks)
    return Raced(
        context=after,
        command=command,
        plan=accepted if is_paused else winner.plan,
        report=ours.report(),
    )


def _over(context: RunContext, resume_file: ResumeFile) -> Raced:
    """Return a race from a file of what came after it."""
    began = resume_file.job.revisions.first
    return Raced(
        context=context.raced(methods.written(began), began.networks),
        plan=began,
        report=resume_file.state.facts["race"],
        resume=resume_file,
    )


class Race:
    """Can be paused between and in trainings; those done are kept.

    Attributes:
        bracket: the candidates and what is known of them.
    """

    def __init__(self, context: RunContext, contest: Contest, *, request: str) -> None:
        """Enter the candidates; nothing is trained yet.

        Args:
            context: of the job.
            contest: of its method.
            request: what tells this job from others.
        """
        self._context, self._contest, self._request = context, contest, request
        self.bracket = Bracket(context.problem, contest, epochs=context.spec.training.epochs)
        self._clock = Clock(checkpoint_seconds=context.checkpoint_seconds)
        self._references: dict[int, Tensor] = {}

    def restore(self, resume_file: ResumeFile) -> None:
        """Take over the trainings that are done."""
        assert resume_file.race is not None
        self.bracket.restore(resume_file.race)
        for candidate, epochs in self.bracket.trials:
            if candidate == 0 and _REFERENCE + str(epochs) in resume_file.tensors:
                self._references[epochs] = resume_file.tensors[_REFERENCE + str(epochs)]

    def run(self) -> Command:
        """Race until one is left; FINISH makes do with what is known."""
        listener, ours = self._context.listener, self.bracket
        listener.phase("searching")
        alive = ours.entrants
        for size, epochs in ours.rungs:
            alive = alive[:size]
            for candidate in (c for c in alive if (c, epochs) not in ours.trials):
                command = self._try(candidate, epochs)
                if command is Command.PAUSE:
                    self._save()
                    return command
                if command is Command.FINISH:
                    self._tell_winner()
                    return command
            alive = ours.ranking(epochs)
        self._tell_winner()
        return Command.CONTINUE

    def report(self) -> dict[str, Any]:
        """Return the race as plain JSON: candidates, trainings, cost, winner and reason."""
        return race_account.report(self.bracket, self._request)

    def _try(self, candidate: int, epochs: int) -> Command:
        """Train a candidate and compare it; a resume file is written when it is due."""
        started = time.monotonic()
        trainer = self._trainer(self.bracket.candidates[candidate], epochs)
        nll = score = lead = error = None
        try:
            command = trainer.train(
                after_step=lambda: self._after_step(trainer), after_epoch=_ignored
            )
            if command is not Command.CONTINUE:
                return command
            trainer.load_best()  # the average, if there is one
            images, labels = trainer.batches.validation
            graded = evaluate(
                trainer.model,
                images,
                labels,
                inputs=trainer.graded_inputs,
                batch_size=trainer.adjustments.images_at_once,
                device=trainer.device,
            )
        except NonFiniteLossError:
            pass  # a network that diverges has lost
        else:
            nll, score = graded.nll, graded.score
            lead, error = self._lead(candidate, epochs, graded.losses)
        seconds = round(time.monotonic() - started, 3)
        trial = Trial(
            candidate=candidate,
            epochs=epochs,
            steps=trainer.step,
            nll=nll,
            score=score,
            seconds=seconds,
            lead=lead,
            lead_error=error,
        )
        self.bracket.trials[candidate, epochs] = trial
        self._tell(trial)
        if self._clock.is_time_to_save(at_an_end=True):
            self._save()
        return Command.CONTINUE

    def _lead(
        self, candidate: int, epochs: int, losses: Tensor | None
    ) -> tuple[float, float] | tuple[None, None]:
        """Return the lead over the reference and its error; the reference's losses are kept."""
        assert losses is not None
        if candidate == 0:
            self._references[epochs] = losses
            return None, None
        reference = self._references.get(epochs)
        if reference is None or len(losses) < 2:  # it diverged, or there is no telling the noise
            return None, None
        leads = reference.double() - losses.double()
        return float(leads.mean()), float(leads.std()) / math.sqrt(len(leads))

    def _trainer(self, candidate: Candidate, epochs: int) -> Trainer:
        context, plan = self._context, candidate.plan
        size = plan.networks[0].architecture.input_size
        return Trainer(
            beginning(context, plan),
            context.dataset,
            self._training(epochs),
            inputs=context.dataset.inputs(input_size=size),
            seed=context.spec.seed,
            stage=StageName.RACE,
            device=context.device,
            adjustments=context.adjustments,
        )

    def _training(self, epochs: int) -> TrainingSpec:
        """Return the whole schedule, squeezed into fewer epochs."""
        asked = self._context.spec.training
        changes = {
            "epochs": epochs,
            "warmup_epochs": asked.warmup_epochs * epochs / asked.epochs,
            "validation_fraction": max(asked.validation_fraction, self._contest.held_out),
            "keep": "last",
            "distillation": None,
        }
        return asked.model_copy(update=changes)

    def _after_step(self, trainer: Trainer) -> Command:
        if self._clock.is_time_to_tell():
            steps = self.bracket.steps + trainer.step
            taught = own_epochs(self._context.spec.training)
            total = self.bracket.epochs + taught + self.bracket.later_epochs
            done = 0.99 * steps / (total * trainer.steps_per_epoch)
            self._context.listener.progress(done, None)
        command = self._context.listener.command()
        is_over = command is Command.CONTINUE and self._context.is_time_over()
        return Command.FINISH if is_over else command

    def _tell_winner(self) -> None:
        ours = self.bracket
        believed = ours.believed(ours.best)
        told = {"posterior": None if believed is None else asdict(believed)}
        reason = race_account.why(ours)
        self._context.listener.event("chosen", reason, {**_about(ours.winner), **told})

    def _tell(self, trial: Trial) -> None:
        candidate = self.bracket.candidates[trial.candidate]
        found = "diverged" if trial.nll is None else f"loss {race_account.shown(trial)}"
        self._context.listener.event(
            "raced",
            f"{candidate.told}, epochs: {trial.epochs}: {found}",
            {**_about(candidate), **asdict(trial)},
        )

    def _save(self) -> None:
        about = {"stage": StageName.RACE, "dataset": self._context.dataset.fingerprint}
        losses = {_REFERENCE + str(epochs): each for epochs, each in self._references.items()}
        state = State(tensors=losses, facts={**about, **self.report()})
        # Files are named by steps: a race that does some again must not name a later one lower.
        resume.save(state, self._context, self.bracket.discarded + self.bracket.steps)
        self._clock.saved()


def _about(candidate: Candidate) -> dict[str, Any]:
    """Return what events say of a candidate."""
    method = {"method": called(candidate.method)}
    return method if candidate.cost is None else {**method, "network": candidate.network}


def _ignored(row: Row) -> None:
    """Keep nothing of an epoch."""
