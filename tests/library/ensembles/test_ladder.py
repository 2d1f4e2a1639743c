"""Which networks are asked, in which order, and when to stop."""

import dataclasses
import itertools
import math

import pytest
import torch
from npas.ensembles.anytime import Anytime
from npas.ensembles.choosing import chosen
from npas.ensembles.course import Climb
from npas.ensembles.ensemble import Ensemble
from npas.ensembles.ladder import Ladder, Rung, by_cost
from npas.ensembles.scores import score
from npas.errors import InvalidSpecError
from pydantic import ValidationError
from torch import nn

MACS = {"small": 10, "middle": 30, "large": 100}


def test_by_cost_goes_from_cheap_to_dear():
    found = by_cost({"b": 5, "a": 5, "c": 1})
    assert found.networks == ("c", "a", "b")
    assert found.rungs[-1].answering == ("c", "a", "b")
    assert found.threshold is None


def _mean_nll(ladder, held_out, macs):
    """Return the mean NLL over costs up to twice all, step by step of one multiply-add."""
    classes = next(iter(held_out.log_p.values())).shape[1]
    reached = Climb(ladder, held_out, macs).reached
    total = 0.0
    for cost in range(2 * sum(macs.values())):
        best = [each.scores.nll for each in reached if each.macs <= cost]
        total += best[-1] if best else math.log(classes)
    return total / (2 * sum(macs.values()))


def test_chosen_is_the_best_of_all_orders(said):
    held_out = said({"small": 0.8, "middle": 1.2, "large": 2.5})
    found = chosen(held_out, MACS)
    mine = _mean_nll(found, held_out, MACS)
    for count in (1, 2, 3):
        for order in itertools.permutations(MACS, count):
            rungs = [Rung(network=n, answering=order[: i + 1]) for i, n in enumerate(order)]
            assert mine <= _mean_nll(Ladder(rungs=rungs), held_out, MACS) + 1e-9


def test_of_two_networks_the_second_is_asked_where_it_helps(said):
    held_out = said({"small": 1.0, "large": 3.0})
    found = chosen(held_out, MACS | {})
    assert found.networks == ("small", "large")


def test_what_never_helps_is_not_asked(said):
    held_out = said({"small": 0.0, "middle": 3.0, "large": 0.0})
    assert chosen(held_out, MACS).networks == ("middle",)


def test_threshold_costs_no_accuracy_on_the_held_out_images(said):
    held_out = said({"small": 2.0, "middle": 2.5, "large": 3.5})
    found = chosen(held_out, MACS)
    assert found.threshold is not None
    whole = Climb(found, held_out, MACS).reached[-1]
    early = Climb(found, held_out, MACS).stopped(found.threshold)
    assert early.scores.accuracy >= whole.scores.accuracy
    assert early.macs < whole.macs
    assert sum(early.images) == len(held_out.labels)


def test_many_networks_are_put_in_order_too(said):
    held_out = said({f"n{i}": 0.3 * i for i in range(9)})
    found = chosen(held_out, dict.fromkeys(held_out.names, 10))
    assert found.networks[0] == "n8"
    nll = [
        each.scores.nll
        for each in Climb(found, held_out, dict.fromkeys(held_out.names, 10)).reached
    ]
    assert nll == sorted(nll, reverse=True)


@pytest.mark.parametrize(
    "rungs",
    [
        [("a", ["b"])],
        [("a", ["a"]), ("a", ["a"])],
        [("a", ["a", "a"])],
        [("a", [])],
        [],
    ],
)
def test_what_cannot_be_gone_up_is_refused(rungs):
    with pytest.raises(ValidationError):
        Ladder.model_validate({"rungs": [{"network": n, "answering": a} for n, a in rungs]})


def test_a_ladder_survives_json(said):
    found = chosen(said({"small": 2.0, "middle": 2.5, "large": 3.5}), MACS)
    assert Ladder.model_validate_json(found.model_dump_json()) == found


class _Table(nn.Module):
    """A network that says what it was told to; counts the images it was asked for."""

    def __init__(self, log_p):
        super().__init__()
        self.log_p, self.asked = log_p, 0

    def forward(self, x):
        self.asked += len(x)
        return self.log_p[x[:, 0, 0, 0].long()]


@pytest.fixture
def ensemble(said):
    """Return networks, what they say, and inputs that are the images' numbers."""
    found = said({"small": 2.0, "middle": 2.5, "large": 3.5})
    networks = {name: _Table(log_p) for name, log_p in found.log_p.items()}
    x = torch.arange(len(found.labels), dtype=torch.float32).view(-1, 1, 1, 1)
    return networks, found, x


def test_answers_are_those_of_the_course(ensemble):
    networks, found, x = ensemble
    ladder = by_cost(MACS)
    answers = list(Anytime(networks, ladder, MACS).answers(x))
    reached = Climb(ladder, found, MACS).reached
    for answer, step in zip(answers, reached, strict=True):
        own = dataclasses.astuple(score(answer.log_p, found.labels))
        assert own == pytest.approx(dataclasses.astuple(step.scores))
        assert answer.macs.double().mean() == step.macs


def test_stops_are_those_that_were_counted(ensemble):
    networks, found, x = ensemble
    ladder = chosen(found, MACS)
    wanted = Climb(ladder, found, MACS).stopped(ladder.threshold)
    answer = Anytime(networks, ladder, MACS)(x)
    assert answer.macs.double().mean().item() == pytest.approx(wanted.macs)
    assert (answer.classes == found.labels).double().mean() == wanted.scores.accuracy
    counts = [int((answer.networks == n).sum()) for n in range(1, len(ladder.rungs) + 1)]
    assert counts == list(wanted.images)
    asked = sum(network.asked * MACS[name] for name, network in networks.items())
    assert asked / len(x) == pytest.approx(wanted.macs)


def test_a_budget_of_multiply_adds_is_kept(ensemble):
    networks, _, x = ensemble
    anytime = Anytime(networks, by_cost(MACS), MACS)
    for macs, wanted in ((1, 10), (39, 10), (40, 40), (139, 40), (140, 140), (10**9, 140)):
        assert anytime(x, macs=macs).macs.tolist() == [wanted] * len(x)


def test_no_time_is_one_network_and_much_time_is_all(ensemble):
    networks, _, x = ensemble
    anytime = Anytime(networks, by_cost(MACS), MACS)
    assert anytime(x, milliseconds=1e-9).networks.tolist() == [1] * len(x)
    assert anytime(x, milliseconds=1e9).networks.tolist() == [3] * len(x)


def test_more_images_are_expected_to_take_longer(ensemble):
    networks, _, _ = ensemble
    anytime = Anytime(networks, by_cost(MACS), MACS)
    anytime._last = {"small": (0.001, 1), "middle": (0.001, 1)}
    assert anytime._expected("middle", 400) == pytest.approx(0.4)
    assert anytime._expected("middle", 1) == 0.001
    assert anytime._expected("large", 1) == pytest.approx(0.002 / 40 * 100)


def test_the_mode_is_left_as_it_was(ensemble):
    networks, _, x = ensemble
    networks["middle"].train()
    networks["large"].eval()
    Anytime(networks, by_cost(MACS), MACS)(x)
    assert networks["middle"].training
    assert not networks["large"].training


@pytest.mark.parametrize(
    "limits", [{"macs": 0}, {"milliseconds": -1}, {"threshold": 1.5}, {"threshold": -0.1}]
)
def test_bad_limits_are_refused(ensemble, limits):
    networks, _, x = ensemble
    with pytest.raises(InvalidSpecError, match=next(iter(limits))):
        Anytime(networks, by_cost(MACS), MACS)(x, **limits)


def test_a_ladder_of_other_networks_is_refused(ensemble):
    networks, _, _ = ensemble
    with pytest.raises(InvalidSpecError, match="huge"):
        Anytime(networks, by_cost({"huge": 1}), MACS)


def test_an_ensemble_is_the_mean_of_probabilities(ensemble):
    networks, found, x = ensemble
    pair = {name: networks[name] for name in ("small", "large")}
    together = Ensemble(pair)
    assert torch.allclose(together(x).double(), found.together(tuple(pair)), atol=1e-6)
    assert torch.allclose(together.probabilities(x).sum(1), torch.ones(len(x)))
    assert together.members(x).keys() == pair.keys()
