"""What is told of a race: who ran, what it cost, who won and why."""

from npas.delivery.report_part import Part


class Lead(Part):
    """What is believed of a candidate's loss after a whole training.

    Attributes:
        lead: the loss of the reference less its own, nats: above 0 it is the better one.
        error: standard deviation of what is believed.
    """

    lead: float
    error: float


class Candidate(Part):
    """What could be raced: a method, and where sizes were raced its network.

    Attributes:
        method: its name with options.
        parameters: of its plan.
        prior: its lead as it was known before the race; None of the reference, and of a race by
            an earlier release.
        posterior: its lead after the race; None also where nothing could be compared.
        network: that its plan is of; None where all are of the same. So are the others:
        dense_parameters: of that network without sharing.
        macs: multiply-adds of that network for one image.
        activation_bytes: most bytes of activations at once for one image.
    """

    method: str
    parameters: int
    prior: Lead | None = None
    posterior: Lead | None = None
    network: str | None = None
    dense_parameters: int | None = None
    macs: int | None = None
    activation_bytes: int | None = None


class TrialReport(Part):
    """One short training; see `npas.jobs.bracket.Trial`, also for what a lead is."""

    candidate: int
    epochs: int
    steps: int
    nll: float | None
    score: float | None
    seconds: float
    lead: float | None = None
    lead_error: float | None = None


class RaceReport(Part):
    """How the method was chosen.

    Attributes:
        request: what tells the job from others.
        method: the winner, with its options.
        why: the choice and its reason, a sentence.
        candidates: whose plans fit the budget; those that were known to be behind, or that were
            too many, have no trial.
        trials: all short trainings; `candidate` is a place in `candidates`.
        infeasible: the minimum of each method that does not fit the budget.
        epochs: of all trainings of the race.
        share_of_training: its epochs over those of the training.
        seconds: that it took.
        discarded: optimiser steps of trainings that another release did and this one did again,
            as their leads were not measured, or over another candidate.
        network: the winner's, where sizes were raced; else None.
        share_of_all: multiply-adds of its trainings over those of training all that were raced
            for all epochs, where sizes were raced; else None.
        reference: place in `candidates` of the one that all others are compared with, and that
            stays unless another is clearly better; None in a race by an earlier release.
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
    reference: int | None = None
    discarded: int = 0
