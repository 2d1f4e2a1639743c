"""Who goes on and who wins a race, by the trainings that are done."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import npas.data
import pytest
from npas.delivery.race_report import RaceReport
from npas.jobs import bracket
from npas.jobs.bracket import Bracket, Trial, affordable
from npas.jobs.race_account import report, why
from npas.methods import Contest
from npas.planning import prior
from npas.planning.prior import known_losses
from npas.planning.problem import PlanningProblem
from npas.planning.verdict import Belief
from npas.spec import JobSpec

MakeSpec = Callable[..., JobSpec]

RULES = Contest(methods=(), eta=2, growth=3, share=0.3, held_out=0.2)


def bracket_of(make_spec: MakeSpec, methods: list[str], **training: Any) -> Bracket:
    spec = make_spec(
        architecture="resnet-14",
        budget={"fraction": 0.7},
        method={"name": "auto", "methods": methods},
        training={"epochs": 10, **training},
    )
    problem = PlanningProblem.of(spec, npas.data.facts(spec.dataset))
    assert problem.contest is not None
    return Bracket(problem, problem.contest, epochs=spec.training.epochs)


def _trial(candidate: int, *, epochs: int = 3, lead: float | None = None) -> Trial:
    nll = 1.5 - (lead or 0)
    error = None if lead is None else 0.001
    times: Any = {"epochs": epochs, "steps": 5, "seconds": 1.0}
    return Trial(candidate=candidate, nll=nll, score=0.5, lead=lead, lead_error=error, **times)


def _diverged(candidate: int, *, epochs: int = 3) -> Trial:
    trial = _trial(candidate, epochs=epochs)
    return replace(trial, nll=None, score=None)


def _raced(race: Bracket, *trials: Trial) -> Bracket:
    race.trials = {(trial.candidate, trial.epochs): trial for trial in trials}
    return race


@pytest.mark.parametrize(
    ("lead", "told"),
    [
        (0.5, "narrow leads block_mix by"),
        (0.05, "block_mix stays: narrow leads by"),
        (-0.5, "block_mix stays: the nearest, narrow, is behind by"),
    ],
)
def test_default_stays_unless_another_leads_by_more_than_the_noise(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, lead: float, told: str
) -> None:
    known = known_losses().model_copy(update={"noise": 0.02})
    monkeypatch.setattr(bracket, "known_losses", lambda: known)
    race = bracket_of(make_spec, ["narrow", "block_mix"])
    race.known = {1: Belief(lead=0.0, error=0.05)}
    assert [each.method.name for each in race.candidates] == ["block_mix", "narrow"]

    _raced(race, _trial(0), _trial(1, lead=lead))

    assert race.winner.method.name == ("narrow" if lead == 0.5 else "block_mix")
    reason = why(race)
    is_other = "do not share: a narrower network is better here, and "
    assert reason.startswith((is_other if lead == 0.5 else "") + told)
    assert ("which is within the noise" in reason) is (lead == 0.05)
    assert ("which is more than the noise" in reason) is (lead == 0.5)
    assert f"{lead:+.3f} +- 0.001 on held-out training images, epochs: 3" in reason
    assert (race.winner.plan.groups == ()) is (lead == 0.5)


def test_reference_that_diverged_loses_to_the_lowest_loss(make_spec: MakeSpec) -> None:
    race = bracket_of(make_spec, ["block_mix", "narrow", "uniform"])
    lower, higher = replace(_trial(2), nll=1.0), replace(_trial(1), nll=2.0)

    _raced(race, _diverged(0), higher, lower)
    assert race.ranking(3) == [0, 2, 1]
    assert race.winner.method.name == "uniform"
    assert why(race).startswith("uniform had the lowest loss on held-out training images")
    _raced(race, _diverged(0), _diverged(1), _diverged(2))
    assert race.ranking(3) == [0, 1, 2]
    assert race.winner.method.name == "block_mix"
    assert why(race) == "block_mix stays, as no other could be compared with it"


def test_candidate_that_diverged_last_has_lost(make_spec: MakeSpec) -> None:
    race = bracket_of(make_spec, ["block_mix", "narrow", "uniform"])
    shorter = [_trial(0, epochs=1), _trial(1, epochs=1, lead=0.6), _trial(2, epochs=1, lead=0.5)]

    _raced(race, *shorter, _trial(0), _diverged(1), _trial(2, lead=0.5))

    assert race.believed(1) is None
    assert race.winner.method.name == "uniform"
    assert race.ranking(1) == [0, 1, 2]  # what came later has no say in who went on
    assert race.ranking(3) == [0, 2, 1]


def test_reference_stays_in_every_round_though_it_is_behind(make_spec: MakeSpec) -> None:
    race = bracket_of(make_spec, ["block_mix", "narrow", "random", "uniform"])
    assert race.entrants[0] == 0

    _raced(race, _trial(0), *(_trial(c, lead=c / 10) for c in (1, 2, 3)))

    assert race.ranking(3) == [0, 3, 2, 1]


def test_trainings_that_were_compared_with_another_are_done_again(make_spec: MakeSpec) -> None:
    """As where another release has another default."""
    race = _raced(bracket_of(make_spec, ["uniform", "narrow"]), _trial(0), _trial(1, lead=0.1))
    facts = RaceReport.model_validate({**report(race, "one"), "discarded": 3})
    same, other = (
        bracket_of(make_spec, names) for names in (["uniform", "narrow"], ["narrow", "uniform"])
    )

    same.restore(facts)
    other.restore(facts)

    assert same.trials == race.trials
    assert same.discarded == 3
    assert other.trials == {}
    assert other.discarded == 3 + 5 + 5


def test_methods_that_are_known_to_be_behind_are_not_tried(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_losses()
    far = [
        cell.model_copy(update={"losses": {**cell.losses, "narrow": cell.losses["random"] + 9}})
        for cell in known.cells
    ] * 5
    found = known.model_copy(update={"cells": tuple(far)})
    monkeypatch.setattr(prior, "known_losses", lambda: found)

    race = bracket_of(make_spec, ["block_mix", "narrow"])

    assert race.entrants == [0]
    assert race.rungs == []
    assert why(race) == "block_mix stays: all other methods that fit are known to be behind"
    assert [each["method"] for each in report(race, "one")["candidates"]] == [
        "block_mix",
        "narrow",
    ]


@pytest.mark.parametrize("epochs", range(4, 60))
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_race_costs_at_most_its_share_of_training_all(epochs: int, share: float) -> None:
    for candidates in range(2, 20):
        rounds = affordable([1] * candidates, epochs, replace(RULES, share=share))
        raced = sum(size * length for size, length in rounds)
        assert raced <= share * epochs * candidates or rounds == [(candidates, 1)]
