"""Counts what the stages of a job compute: how many passes, of which networks."""

from collections.abc import Iterator, Sequence
from dataclasses import fields

from npas.data import Facts
from npas.delivery.deliver import RECALIBRATION_IMAGES
from npas.delivery.measuring import Images, effort
from npas.delivery.together import WAYS, num_corrupted
from npas.jobs.bracket import affordable
from npas.jobs.context import StageName
from npas.jobs.distillation import own_epochs
from npas.jobs.passes import Pass, composing, one_pass, orthogonalising
from npas.jobs.start import is_joining, trained
from npas.jobs.workload import EVALUATION, StageWork
from npas.methods import Contest
from npas.planning.planner import fitting_sizes, own_minimum
from npas.planning.prior import Place, Rival, racing
from npas.planning.problem import PlanningProblem
from npas.planning.sizes import cost_of
from npas.plans import Plan
from npas.spec import JobSpec, NetworkSpec, TrainingSpec
from npas.train.adjustments import IMAGES_AT_ONCE
from npas.train.averaging import STATISTICS_BATCH, STATISTICS_IMAGES
from npas.train.batches import largest_batch, num_batches, num_held_out
from npas.train.ensemble import chances, num_trained
from npas.train.sizes import at_test_size

_TAUGHT = (StageName.SEARCH, StageName.TRAIN)
_PASSES = 3  # a step is a forward pass and a backward pass, which computes twice as much


class StageCounter:
    """Counts the stages of one job.

    Attributes:
        batch: images of the largest batch.
    """

    def __init__(
        self,
        plan: Plan,
        problem: PlanningProblem,
        spec: JobSpec,
        facts: Facts,
        *,
        teacher: Sequence[NetworkSpec],
    ) -> None:
        """Count nothing yet.

        Args:
            plan: of the job.
            problem: that it was made for.
            spec: the job. Networks of the plan that stay as they are, are only graded; where
                some join others, nothing is raced or searched.
            facts: of its dataset.
            teacher: networks that are learned from; none where nothing is distilled.
        """
        self._plan, self._problem, self._spec, self._facts = plan, problem, spec, facts
        self._trained = trained(spec, plan)
        self._contest = None if is_joining(spec) else problem.contest
        self.batch = largest_batch(facts.num_train, spec.training, validation=facts.num_validation)
        self._composing = composing(plan, [network.name for network in self._trained])
        self._moving = orthogonalising(plan) if spec.training.optimizer == "muon" else Pass()
        self._teacher = one_pass(teacher, batch=self.batch)

    def stages(self) -> Iterator[StageWork]:
        """Yield those that the job has, in their order."""
        held_out, shared = self._training.validation_fraction, self._trained
        if self._contest is not None:
            yield self._race(self._contest)
        if taught := own_epochs(self._training):
            dense = self._problem.networks
            yield self._stage(StageName.TEACH, dense, taught, held_out, is_shared=False)
        if self.search_epochs:
            yield self._stage(StageName.SEARCH, shared, self.search_epochs, held_out)
        yield self._stage(StageName.TRAIN, shared, self._training.epochs, held_out)
        yield self._evaluation(self._graded_pass(self._plan.networks))

    @property
    def _training(self) -> TrainingSpec:
        return self._spec.training

    @property
    def search_epochs(self) -> int:
        """Epochs of the search; after a race, the most that may be."""
        if is_joining(self._spec):
            return 0
        methods = [self._problem] if self._contest is None else self._contestants(self._contest)
        epochs = self._training.epochs
        return max((m.method.search_epochs(m.options, epochs=epochs) for m in methods), default=0)

    def _split(self, fraction: float) -> tuple[int, int]:
        """Return how many images are trained on, and how many are held out."""
        images, own = self._facts.num_train, self._facts.num_validation
        held_out = own or num_held_out(images, fraction)
        return images if own else images - held_out, held_out

    def _contestants(self, contest: Contest) -> list[PlanningProblem]:
        """Return the problem of each size under each method that fits the budget."""
        is_in_bytes = self._problem.file_bytes is not None
        budget = self._plan.ledger.budget if is_in_bytes else self._problem.budget
        sizes = fitting_sizes(self._problem)
        tried = [size.under(method) for size in sizes for method in contest.methods]
        return [each for each in tried if budget is None or own_minimum(each) <= budget]

    def _raced(self, contest: Contest) -> list[PlanningProblem]:
        """Return those of the contestants that are not left out for what is known of them."""
        fitting, is_sized = self._contestants(contest), self._problem.limits is not None
        if not fitting:
            return []
        rivals = [
            Rival(method=each.asked, macs=cost_of(each).macs if is_sized else None)
            for each in fitting
        ]
        place = Place.of(self._problem, budget=self._plan.ledger.budget)
        return [fitting[index] for index in racing(rivals, place)]

    def _race(self, contest: Contest) -> StageWork:
        """Return the work of a race in which no two candidates make the same plan.

        Who stays in it is not known: of several sizes each is trained for its part of all epochs.
        """
        raced, is_sized = self._raced(contest), self._problem.limits is not None
        macs = [cost_of(each).macs if is_sized else 1 for each in raced]
        rounds = affordable(macs, self._training.epochs, contest)
        epochs = sum(size * length for size, length in rounds)
        fraction = max(self._training.validation_fraction, contest.held_out)
        graded = sum(size for size, _ in rounds) * self._split(fraction)[1]
        bases = [each.base for each in raced] if is_sized else [self._problem.networks]
        shares = zip(_divided(epochs, len(bases)), _divided(graded, len(bases)), strict=True)
        return _sum(
            [
                self._stage(StageName.RACE, base, length, fraction, graded=images)
                for base, (length, images) in zip(bases, shares, strict=True)
            ]
        )

    def _stage(
        self,
        name: StageName,
        networks: Sequence[NetworkSpec],
        epochs: int,
        fraction: float,
        *,
        is_shared: bool = True,
        graded: int = 0,
    ) -> StageWork:
        """Return the work of a stage.

        Args:
            name: of the stage.
            networks: that are trained; where some of them take part in a step, it counts as the
                mean of all steps.
            epochs: of the stage.
            fraction: of the training images that is held out, and graded after each epoch.
            is_shared: whether its weights are composed.
            graded: images that are graded beside those.
        """
        images, held_out = self._split(fraction)
        steps = epochs * num_batches(images, self._training.batch_size)
        measured = epochs * self._num_measured(name, images)
        batches = epochs * _num_evaluated(held_out) + measured // STATISTICS_BATCH
        all_of_them = self._graded_pass(networks)
        likely = chances(self._training.ensemble, len(networks))
        trained = one_pass(networks, batch=self.batch, chances=likely)
        learned, looked_at = _PASSES * epochs * images, epochs * held_out + graded + measured
        teacher = self._teaching(len(networks)) if name in _TAUGHT else Pass()
        made = self._composing if is_shared else Pass()
        moved = self._moving if is_shared else Pass()
        return StageWork(
            stage=name,
            steps=steps,
            operations=_PASSES * steps * (trained.operations + made.operations)
            + batches * all_of_them.operations
            + steps * (teacher.operations + moved.operations),
            macs=learned * trained.macs
            + looked_at * all_of_them.macs
            + steps * (_PASSES * made.macs + moved.macs)
            + epochs * images * teacher.macs,
            kept_bytes=learned * trained.kept_bytes
            + looked_at * all_of_them.kept_bytes
            + _PASSES * steps * made.kept_bytes
            + epochs * images * teacher.kept_bytes,
        )

    def _graded_pass(self, networks: Sequence[NetworkSpec]) -> Pass:
        """Return what networks compute of images that they are graded on."""
        return one_pass(at_test_size(self._training, networks), batch=self.batch)

    def _num_measured(self, name: StageName, images: int) -> int:
        """Return how many of so many images the statistics of averaged weights are measured on."""
        is_averaged = self._training.average is not None and name is not StageName.SEARCH
        return min(images, STATISTICS_IMAGES) if is_averaged else 0

    def _teaching(self, networks: int) -> Pass:
        """Return what the teacher computes of an image of every batch of a step."""
        spec = self._training.ensemble
        times = num_trained(spec, networks) if spec.batches == "own" else 1
        return Pass(
            macs=times * self._teacher.macs,
            operations=times * self._teacher.operations,
            kept_bytes=times * self._teacher.kept_bytes,
        )

    def _evaluation(self, shared: Pass) -> StageWork:
        """Return the grading of what is delivered: the network, its members, a fold, a teacher.

        Measuring what sharing costs counts as the optimiser steps that take as long.
        """
        problem, tests = self._problem, self._facts.num_test
        images = tests + (self._graded_together() if len(self._plan.networks) > 1 else 0)
        if problem.method.fold_at(problem.options) is not None:
            images += 3 * tests + min(RECALIBRATION_IMAGES, self._facts.num_train)
        passes = _PASSES * self._measuring()
        return StageWork(
            stage=EVALUATION,
            steps=0,
            operations=(_num_evaluated(images) + passes) * shared.operations
            + _num_evaluated(tests) * self._teacher.operations,
            macs=(images + passes * self.batch) * shared.macs + tests * self._teacher.macs,
            kept_bytes=(images + passes * self.batch) * shared.kept_bytes
            + tests * self._teacher.kept_bytes,
        )

    def _measuring(self) -> int:
        """Return in how many optimiser steps' time it is measured what sharing costs."""
        learned, held_out = self._split(self._training.validation_fraction)
        if self._spec.start is not None and not self._facts.num_validation:
            held_out = 0
        steps = self._training.epochs * num_batches(learned, self._training.batch_size)
        images = Images(learned=learned, held_out=held_out, batch=self.batch)
        return round(effort(self._plan, images, self._spec.explain * steps).cost)

    def _graded_together(self) -> int:
        """Return how many images several networks are asked for after their first grade."""
        tests = self._facts.num_test
        if self._facts.task != "classes":
            return tests
        held_out = self._split(self._training.validation_fraction)[1]
        changed = num_corrupted(self._spec.corrupted_images, self._training, self._facts)
        return tests + held_out + WAYS * changed


def _num_evaluated(images: int) -> int:
    """Return in how many batches images are graded."""
    return -(-images // IMAGES_AT_ONCE)


def _divided(count: int, parts: int) -> list[int]:
    """Return a count in parts that are as equal as whole numbers can be."""
    return [count // parts + (index < count % parts) for index in range(parts)]


def _sum(works: Sequence[StageWork]) -> StageWork:
    """Return the work of one stage, of its parts."""
    counts = [field.name for field in fields(StageWork) if field.name != "stage"]
    totals = {name: sum(getattr(each, name) for each in works) for name in counts}
    return StageWork(stage=works[0].stage, **totals)
