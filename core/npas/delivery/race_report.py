"""What is told of a race: who ran, what it cost, who won and why."""

from npas.delivery.report_part import Part


class Candidate(Part):
    """What was raced: a method, and where sizes were raced its network.

    Attributes:
        method: its name with options.
        parameters: of its plan.
        network: that its plan is of; None where all are of the same. So are the others:
        dense_parameters: of that network without sharing.
        macs: multiply-adds of that network for one image.
        activation_bytes: most bytes of activations at once for one image.
    """

    method: str
    parameters: int
    network: str | None = None
    dense_parameters: int | None = None
    macs: int | None = None
    activation_bytes: int | None = None


class TrialReport(Part):
    """One short training; see `npas.jobs.bracket.Trial`."""

    candidate: int
    epochs: int
    steps: int
    nll: float | None
    score: float | None
    seconds: float


class RaceReport(Part):
    """How the method was chosen.

    Attributes:
        request: what tells the job from others.
        method: the winner, with its options.
        why: the choice and its reason, a sentence.
        candidates: whose plans fit the budget.
        trials: all short trainings; `candidate` is a place in `candidates`.
        infeasible: the minimum of each method that does not fit the budget.
        epochs: of all trainings of the race.
        share_of_training: its epochs over those of the training.
        seconds: that it took.
        network: the winner's, where sizes were raced; else None.
        share_of_all: multiply-adds of its trainings over those of training all candidates for all
            epochs, where sizes were raced; else None.
    """

    request: str
    method: str
    why: str
    candidates: tuple[Candidate, ...]
    trials: tuple[TrialReport, ...]
    infeasible: dict[str, int]
    epochs: int
    share_of_training: float
    seconds: float
    network: str | None = None
    share_of_all: float | None = None
