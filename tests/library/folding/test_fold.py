"""Near-equal layers become one: exact where they were proportional, counted, kept in files."""

import copy
import itertools
import random

import npas
import pytest
import torch
from npas import arch
from npas.delivery.checkpoint import num_parameters
from npas.errors import InvalidSpecError
from npas.folding.loop_modules import Loop, Placed
from npas.folding.loops import _Rewriter, _runs, _Trace, loop_places
from npas.folding.repeats import _linked
from npas.spec import ArchitectureSpec, NetworkSpec
from torch import nn

CLOSE = 1e-5
IMAGES = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def made(name, patterns, scale=lambda _: 1.0, *, seed=0, **options):
    """Return a network, each group's layers as a pattern says: a letter for each direction."""
    plan = npas.plan(name, method="soft_sharing", **options)
    model = npas.share(npas.build(name, seed=seed), plan, seed=seed)
    torch.manual_seed(seed)
    model.train()
    with torch.no_grad():
        for _ in range(2):  # statistics of normalisations that differ from layer to layer
            model(torch.randn(8, 3, 12, 12))
        for group in model.groups.values():
            coefficients = group.coefficients[0]
            pattern = patterns[: len(coefficients)]
            rows = torch.randn(26, coefficients.shape[1])
            for index, letter in enumerate(pattern):
                coefficients[index] = rows[ord(letter) - ord("a")] * scale(index)
    return model.eval()


def distance(one, other):
    """Return how far logits are apart, as a part of the largest."""
    with torch.no_grad():
        wanted = one(IMAGES)
        return ((other(IMAGES) - wanted).abs().max() / wanted.abs().max()).item()


def kinds(model):
    return [type(module) for module in model.modules()]


SCALES = {
    "equal": lambda _: 1.0,
    "other signs": lambda index: (1.0, -1.0, -1.0)[index % 3],
    "multiples": lambda index: (0.7, -3.1, 12.9, 1.3, -0.05)[index % 5],
}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize(
    ("name", "patterns", "templates"),
    [
        ("wrn-28-1", "ababab", 2),  # rolled back to plain weights
        ("wrn-28-1", "ababcd", 3),  # four weights of three templates
        ("wrn-40-1", "abcdabcdef", 4),  # a loop over two blocks
        ("wrn-28-1", "aaaaaa", 3),  # one weight, twice in its block
        ("resnet-20", "ababab", 3),
    ],
)
def test_fold_of_proportional_layers_is_exact(name, patterns, templates, scale):
    model = made(name, patterns, scale, templates=templates)

    folded = npas.fold(model, 1.0)

    assert folded.is_exact
    assert distance(model, folded.model) < CLOSE
    assert distance(model, folded.loops().eval()) < CLOSE
    for group in folded.groups:
        assert group.distinct == len(set(patterns[: group.layers]))
        assert group.rolled_back == (group.distinct <= templates)


@pytest.mark.parametrize(
    ("patterns", "templates", "scale", "scalars"),
    [
        ("ababab", 2, "equal", 0),
        ("ababab", 2, "multiples", 4),
        ("ababab", 4, "equal", 0),
        ("ababcd", 2, "equal", 0),
        ("ababcd", 3, "other signs", 2),
        ("aaaaaa", 1, "multiples", 4),  # the sixth is as long as the first
    ],
)
def test_fold_counts_what_is_left(patterns, templates, scale, scalars, recount):
    """min(k d + L' k, L' d) and a scalar for each layer that is another multiple."""
    model = made("wrn-28-1", patterns, SCALES[scale], templates=templates)

    folded = npas.fold(model, 1.0)

    distinct = len(set(patterns))
    assert len(folded.groups) == 3
    for group, old in zip(folded.groups, model.plan.groups, strict=True):
        size = old.banks[0].size
        mixed = templates * size + distinct * templates
        assert group.parameters_before == templates * (size + 6)
        assert group.parameters == min(mixed, distinct * size) + scalars
    saved = sum(group.parameters_before - group.parameters for group in folded.groups)
    ledger = folded.model.plan.ledger
    assert ledger.total == model.plan.ledger.total - saved
    assert ledger.total == recount(folded.model) <= ledger.budget


def test_fold_of_layers_that_differ_changes_nothing():
    model = made("wrn-28-1", "abcdef", templates=5)

    folded = npas.fold(model, 0.999)

    assert folded.model.plan == model.plan
    assert all(group.distinct == group.layers == 6 for group in folded.groups)
    for name, tensor in model.state_dict().items():
        assert torch.equal(folded.model.state_dict()[name], tensor)
    assert Loop not in kinds(folded.loops())


def test_fold_leaves_the_model_alone():
    model = made("wrn-28-1", "ababab", templates=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = model.plan
    npas.fold(model).loops()
    assert model.plan is plan
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())


def test_as_many_templates_as_layers_roll_back_without_a_repeat():
    """k (L + d) against L d: the coefficients go, no weight changes."""
    model = made("wrn-16-1", "ab", templates=2)
    folded = npas.fold(model, 0.999)
    assert folded.model.plan.groups == ()
    assert folded.model.plan.ledger.total == folded.model.plan.ledger.dense
    assert distance(model, folded.model) == 0


def test_near_layers_become_their_mean_direction():
    model = made("wrn-28-1", "ababab", templates=3)
    with torch.no_grad():
        for group in model.groups.values():
            group.coefficients[0].add_(0.02 * torch.randn(6, 3))
    model.eval()
    near = npas.similarity(model)["g0"]
    folded = npas.fold(model, 0.98)
    assert not folded.is_exact
    assert min(group.least_similarity for group in folded.groups) >= 0.98 - 1e-6
    assert folded.groups[0].least_similarity <= near[0, 2]
    assert {group.distinct for group in folded.groups} == {2}
    made_one = npas.similarity(folded.model)
    assert all(matrix.min() > 1 - 1e-6 for matrix in made_one.values())
    assert 0.98 < near[0, 2] < 1 - 1e-6
    old, new = model.materialise()["main"], folded.model.materialise()["main"]
    firsts = [f"stages.0.{block}.conv1.weight" for block in (1, 2, 3)]
    units = [nn.functional.normalize(old.get_parameter(n).flatten(), dim=0) for n in firsts]
    mean = nn.functional.normalize(sum(units), dim=0)
    for name in firsts:
        weight, wanted = new.get_parameter(name).flatten(), old.get_parameter(name).flatten()
        torch.testing.assert_close(weight, mean * (wanted @ mean), atol=1e-6, rtol=1e-5)
    assert 0 < distance(model, folded.model) < 0.3


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.001, float("nan"), "0.9", None, True])
def test_fold_refuses_thresholds_that_are_not_possible(threshold):
    with pytest.raises(InvalidSpecError, match="above 0 and at most 1") as caught:
        npas.fold(made("wrn-16-1", "aa", templates=1), threshold)
    assert caught.value.field == "/method/fold"


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("block_mix", {"budget": {"fraction": 0.3}}, "without layers of other shapes"),
        ("dense", {}, "by this plan of dense no layers share"),
        ("soft_sharing", {"templates": 4}, "alike by 0.99"),
        ("ssn", {"budget": {"fraction": 0.3}, "groups": "shape"}, "alike by 0.99"),
    ],
)
def test_fold_of_nothing_says_why(method, options, told):
    """Groups of `ssn` by shape read a bank of another size than their layers."""
    plan = npas.plan("wrn-28-1", method=method, **options)
    folded = npas.fold(npas.share(npas.build("wrn-28-1", seed=0), plan))
    assert folded.model.plan.ledger == plan.ledger
    assert folded.is_exact
    assert "nothing was folded" in folded.text()
    assert told in folded.text()


def test_fold_tells_what_became_of_each_group():
    text = npas.fold(made("wrn-28-1", "ababab", templates=3), 1.0).text()
    assert text.startswith("g0: layers 6 -> 2, parameters 6,930 -> 4,608\n")
    assert "nothing" not in text


@pytest.mark.parametrize("patterns", ["ababab", "ababcd"])
def test_folded_networks_go_through_files(patterns, tmp_path):
    folded = npas.fold(made("wrn-28-1", patterns, SCALES["multiples"], templates=3), 1.0)
    npas.save(folded.model, tmp_path / "folded.safetensors", extra={"a": 1})

    loaded = npas.load(tmp_path / "folded.safetensors")

    assert (loaded.plan, loaded.extra) == (folded.model.plan, {"a": 1})
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), folded.model.eval()(IMAGES))
        assert torch.equal(npas.loops(loaded).eval()(IMAGES), folded.loops().eval()(IMAGES))
    again = npas.fold(loaded, 1.0).model
    assert again.plan == loaded.plan
    assert distance(loaded, again) < CLOSE


def test_loops_hold_one_copy_of_a_weight_and_a_norm_for_each_step():
    model = made("wrn-40-1", "abcdabcdef", SCALES["multiples"], templates=6)
    network = npas.fold(model, 1.0).loops()
    assert [(p.module, p.blocks, p.steps) for p in loop_places({"main": network})] == [
        (f"stages.{stage}.1", 2, 2) for stage in range(3)
    ]
    (loop,) = [m for name, m in network.named_modules() if name == "stages.1.1"]
    convolutions = [m for m in loop.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in loop.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (len(convolutions), len(norms)) == (4, 8)
    plain = model.materialise()["main"]
    assert sum(p.numel() for p in network.parameters()) < sum(
        p.numel() for p in plain.parameters()
    )


def test_a_weight_that_is_twice_in_its_block_is_stored_once():
    network = npas.fold(made("wrn-28-1", "aaaaaa", templates=1), 1.0).loops()
    (loop, *_) = [module for module in network.modules() if isinstance(module, Loop)]
    weights = {id(m.weight) for m in loop.modules() if isinstance(m, nn.Conv2d)}
    assert len(weights) == 1


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("wrn-28-1", "ababab"),
        ("wrn-28-1", "abcabd"),
        ("wrn-28-1", "aaaaaa"),
        ("wrn-40-1", "aabbaabbcc"),
    ],
)
def test_loops_hold_what_the_ledger_counts(name, patterns):
    """Also layers that are equal but stand apart are stored once."""
    folded = npas.fold(made(name, patterns, templates=6), 1.0)
    network = folded.loops()
    assert num_parameters(network) == folded.model.plan.ledger.total
    assert distance(folded.model.eval(), network.eval()) < CLOSE


def test_loops_learn_as_the_network_does():
    """One copy of a weight gets the gradients of all its steps; norms keep statistics apart."""
    model = made("wrn-28-1", "ababab", SCALES["multiples"], templates=2)
    folded = npas.fold(model, 1.0)
    network, shared = folded.loops().train(), folded.model.train()
    for each in (network, shared):
        each(IMAGES).square().sum().backward()
    name = "stages.0.1.0.conv1.layer.weight"
    group = next(g for g in shared.plan.groups if g.slots[0].layer == "stages.0.1.conv1.weight")
    wanted = shared.groups[group.name].templates[0].grad
    found = network.get_parameter(name).grad.flatten()
    torch.testing.assert_close(found, wanted.flatten(), rtol=1e-3, atol=1e-4 * wanted.abs().max())
    statistics = network.get_submodule("stages.0.1.0.norm2.each.2").running_mean
    plain = shared.network("main").stages[0][3].norm2.running_mean
    torch.testing.assert_close(statistics, plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "is_rewritten"),
    [
        *(("torchvision:resnet18", True), ("torchvision:mobilenet_v2", True)),
        ("torchvision:swin_t", False),  # its blocks take the weights out of their layers
    ],
)
def test_loops_of_other_families_compute_the_same(name, is_rewritten):
    spec = ArchitectureSpec(name=name, num_classes=10, input_size=64)
    plan = npas.plan(spec, method="soft_sharing", templates=1)
    model = npas.share(npas.build(plan.networks[0].architecture, seed=0), plan, seed=0).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    folded = npas.fold(model, 1.0)
    network = folded.loops().eval()
    assert (Loop in kinds(network)) == is_rewritten
    with torch.no_grad():
        wanted = model(images)
        for found in (folded.model(images), network(images)):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("name", ["vit-4-32-8", "text-encoder-4-32"])
def test_transformers_run_as_loops(name, scale):
    """Attention reads its matrices directly: they are put in their places at every step."""
    plan = npas.plan(name, method="soft_sharing", templates=2)
    spec = plan.networks[0].architecture
    model = npas.share(npas.build(spec, seed=0), plan, seed=0).eval()
    with torch.no_grad():
        for group in model.groups.values():
            for index, row in enumerate(group.coefficients[0]):
                row.copy_(torch.tensor([0.6, 0.8]) * scale(index))
    folded = npas.fold(model, 1.0)
    network = folded.loops()
    inputs = arch.example_input(spec, num_examples=3)
    with torch.no_grad():
        wanted = model(inputs)
        for found in (folded.model(inputs), network.eval()(inputs)):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert [(place.blocks, place.steps) for place in loop_places({"main": network})] == [(1, 4)]
    matrices = [p for m in network.modules() if isinstance(m, Placed) for p in m.weights]
    assert len(matrices) == 2
    network(inputs).square().sum().backward()
    assert all(matrix.grad.abs().max() > 0 for matrix in matrices)
    assert distance_of_copies(network, inputs) == 0


def distance_of_copies(network, inputs):
    with torch.no_grad():
        return (copy.deepcopy(network)(inputs) - network(inputs)).abs().max().item()


class Counting(nn.Module):
    """Adds how many layers it has, so that a loop in their place is another network."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(3))
        for layer in self.layers:
            layer.weight = self.layers[0].weight

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x + len(self.layers)


def test_a_network_that_does_not_take_a_loop_is_found_out():
    spec = ArchitectureSpec(name="resnet-8", num_classes=10, input_channels=3, input_size=8)
    network = Counting()
    trace = _Trace(network, spec)
    assert trace.holds()
    tied = {f"layers.{index}.weight": ("g0", 0) for index in range(3)}
    _Rewriter(network, tied, trace).rewrite()
    assert isinstance(network.layers[0], Loop)
    assert not trace.holds()


def test_several_networks_are_folded_together():
    networks = [
        NetworkSpec(name=n, architecture=ArchitectureSpec(name="wrn-22-1")) for n in ("a", "b")
    ]
    plan = npas.plan(networks, method="soft_sharing", templates=1)
    model = npas.share({n: npas.build("wrn-22-1", seed=0) for n in ("a", "b")}, plan).eval()
    folded = npas.fold(model, 1.0)
    assert [group.distinct for group in folded.groups] == [1, 1, 1]
    loops = folded.loops().eval()
    for name, wanted in model.members(IMAGES).items():
        assert (loops[name](IMAGES) - wanted).abs().max() < CLOSE * wanted.abs().max()


def covered(kinds_, runs):
    for start, period, steps in runs:
        block = kinds_[start : start + period]
        assert steps > 1
        assert kinds_[start : start + period * steps] == block * steps
    return sum(period * steps for _, period, steps in runs)


def test_runs_are_what_repeats():
    assert list(_runs([1, 1, 1])) == [(0, 1, 3)]
    assert list(_runs([9, 1, 2, 1, 2, 3])) == [(1, 2, 2)]
    assert list(_runs([1, 2, 2, 1, 2, 2])) == [(0, 3, 2)]
    assert list(_runs([1, 2, 3])) == []
    generator = random.Random(0)
    for _ in range(200):
        drawn = [generator.randrange(3) for _ in range(12)]
        runs = list(_runs(drawn))
        rest = covered(drawn, runs)
        assert all(a[0] + a[1] * a[2] <= b[0] for a, b in itertools.pairwise(runs))
        if any(one == other for one, other in itertools.pairwise(drawn)):
            assert rest > 1


def test_clusters_are_near_pair_by_pair():
    """A chain of near layers whose ends are far apart is not one."""
    near = torch.tensor([[1.0, 0.97, 0.9], [0.97, 1.0, 0.96], [0.9, 0.96, 1.0]]).double().numpy()
    assert _linked(near, 0.95) == [0, 0, 2]
    assert _linked(near, 0.9) == [0, 0, 0]
    assert _linked(near, 0.98) == [0, 1, 2]
