"""Every subset by itself, its cost and its time; a network that stays where it is."""

import itertools

import npas
import pytest
import torch
from npas.arch.footprint import macs_of
from npas.data import Facts
from npas.delivery.together import num_corrupted
from npas.ensembles.latency import milliseconds
from npas.ensembles.reading import Reading
from npas.ensembles.scores import diversity, mean_disagreement, score
from npas.ensembles.subsets import ALL_OF, scored, subsets_of
from npas.errors import InvalidSpecError, UnknownNameError
from npas.spec import ArchitectureSpec, NetworkSpec, TrainingSpec
from torch import nn


@pytest.mark.parametrize("count", [1, 2, 5, ALL_OF])
def test_all_subsets_of_a_few(count):
    names = [f"n{i}" for i in range(count)]
    found = list(subsets_of(names))
    assert len(found) == len(set(found)) == 2**count - 1
    assert all(list(each) == sorted(each) for each in found)


def test_of_many_networks_some_subsets():
    names = [f"n{i:02}" for i in range(12)]
    found = list(subsets_of(names))
    assert len(found) == len(set(found)) == 12 + 66 + 10
    assert tuple(names) in found
    assert set(itertools.combinations(names, 2)) <= set(found)


def test_subsets_are_scored_by_what_they_say_together(said):
    found = said({"a": 1.0, "b": 0.5, "c": 2.0})
    macs = {"a": 5, "b": 1, "c": 9}
    for each in scored(found, macs):
        assert each.scores == score(found.together(each.networks), found.labels)
        assert each.disagreement == mean_disagreement(found, each.networks)
        assert each.diversity == diversity(each.disagreement, each.scores.accuracy)
        assert each.macs == sum(macs[name] for name in each.networks)
    costs = [each.macs for each in scored(found, macs)]
    assert costs == sorted(costs)
    assert len(costs) == 7


class _Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return x


def test_time_is_that_of_some_passes_after_the_first():
    network = _Counting()
    assert milliseconds(network, torch.zeros(1), seconds=0) > 0
    assert network.passes == 3 + 5


@pytest.fixture(scope="module")
def bundle():
    networks = [
        NetworkSpec(name=name, architecture={"name": architecture, "num_classes": 4})
        for name, architecture in (("a", "wrn-10-1"), ("b", "resnet-8"))
    ]
    plan = npas.plan(networks, budget={"fraction": 0.5})
    return npas.share({n.name: npas.build(n.architecture) for n in plan.networks}, plan)


def test_a_reading_is_the_network_where_it_is(bundle):
    x = torch.randn(2, 3, 32, 32)
    bundle.eval()
    with torch.no_grad():
        assert torch.equal(Reading(bundle, "b")(x), bundle.members(x)["b"])
    bundle.ensemble().train()
    assert bundle.training
    bundle.eval()


@pytest.mark.parametrize("mode", [True, False])
def test_an_anytime_predictor_follows_the_mode_of_the_whole_and_leaves_it(bundle, mode):
    bundle.train(not mode)
    early = bundle.anytime()
    bundle.train(mode)
    statistics = [b.clone() for b in bundle.buffers()]
    early(torch.randn(4, 3, 32, 32))
    assert bundle.training == mode
    assert all(torch.equal(a, b) for a, b in zip(statistics, bundle.buffers(), strict=True))
    bundle.eval()


def test_a_norm_that_refuses_a_lone_image_is_counted_too():
    layers = [
        *({"kind": "conv", "channels": 8}, {"kind": "pool", "function": "global"}),
        *({"kind": "norm"}, {"kind": "linear"}),
    ]
    spec = ArchitectureSpec.model_validate(
        {
            "name": "declared",
            "layers": layers,
            "num_classes": 3,
            "input_channels": 1,
            "input_size": 8,
        }
    )
    assert macs_of([NetworkSpec(name="a", architecture=spec)])["a"] > 0


def test_an_ensemble_has_the_mode_of_its_networks(bundle):
    bundle.eval()
    ensemble = bundle.ensemble(n for n in ["a", "b"])
    assert not ensemble.training
    was = ensemble.training
    ensemble.eval()
    ensemble.train(was)
    assert not bundle.training
    assert bundle.ensemble("a").names == ("a",)


def test_an_ensemble_learns_what_the_whole_learns(bundle):
    x, before = torch.randn(4, 3, 32, 32), bundle.members(torch.zeros(1, 3, 32, 32))
    ensemble = bundle.ensemble(["a"])
    ensemble(x).exp().square().sum().backward()
    assert any(p.grad is not None for p in bundle.parameters())
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter -= 0.1 * (0 if parameter.grad is None else parameter.grad)
    after = bundle.members(torch.zeros(1, 3, 32, 32))
    assert not torch.equal(before["a"], after["a"])


def test_names_that_are_not_there_are_refused(bundle):
    with pytest.raises(UnknownNameError):
        bundle.ensemble(["c"])
    with pytest.raises(InvalidSpecError, match="at least one"):
        bundle.ensemble([])
    with pytest.raises(UnknownNameError):
        bundle.member("c")


def test_a_ladder_that_is_none_is_refused(bundle):
    bundle.extra = {"ladder": {"rungs": [{"network": "a", "answering": ["b"]}]}}
    with pytest.raises(InvalidSpecError, match="ladder"):
        bundle.anytime()
    bundle.extra = {"ladder": {"rungs": [{"network": "z", "answering": ["z"]}]}}
    with pytest.raises(InvalidSpecError, match="z"):
        bundle.anytime()
    bundle.extra = {}
    assert len(bundle.anytime().ladder.rungs) == 2


def test_as_many_images_are_corrupted_as_a_tenth_of_the_training_pays_for():
    def facts(images, tests):
        return Facts(
            num_classes=10, input_channels=3, input_size=32, num_train=images, num_test=tests
        )

    def auto(epochs, images, tests=10_000):
        return num_corrupted("auto", TrainingSpec(epochs=epochs), facts(images, tests))

    assert auto(200, 50_000) == 1000
    assert auto(10, 5_000) == 200
    assert auto(1, 1_000) == 0
    assert auto(200, 50_000, tests=300) == 300
    asked = TrainingSpec(epochs=1)
    assert num_corrupted(7, asked, facts(10, 5)) == 5
    assert num_corrupted(0, asked, facts(10**6, 5)) == 0
