"""What un-sharing a layer is worth: known where the answer is, nothing left behind, any recipe."""

import copy
import math

import npas
import pytest
import torch
from npas import arch, registry
from npas.errors import DataError, InfeasibleBudgetError, InvalidSpecError
from npas.folding.fold import fold
from npas.sharing.unsharing import cross_entropies, unsharing
from npas.sharing.walks import Frozen, Walker
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.testing.networks import several
from torch import nn
from torch.nn import functional as F

WIDTH = 6
EXAMPLES = 400


class Apart(nn.Module):
    """Two layers, each of which sees half of the inputs."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(WIDTH, WIDTH, bias=False)
        self.other = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x):
        return torch.cat([self.one(x[:, :WIDTH]), self.other(x[:, WIDTH:])], dim=1)


def squares(answers, wanted):
    return (answers - wanted).square().sum(dim=1)


def apart(difference, seed=0, noise=0.0):
    """Two layers of one template, and a task whose best weights are so far from each other.

    The template is the mean of the two, and so the best there is; noise takes it away from there.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    mean, half = draw(WIDTH, WIDTH), difference * draw(WIDTH, WIDTH) / 2
    task = Apart()
    with torch.no_grad():
        task.one.weight.copy_(mean + half)
        task.other.weight.copy_(mean - half)
    plan = npas.plan(Apart(), budget=WIDTH * WIDTH, method="ssn", example=(draw(2, 12),))
    (group,) = plan.groups
    assert (len(group.slots), group.num_parameters) == (2, WIDTH * WIDTH)
    model = npas.share({"main": Apart()}, plan)
    start = mean + noise * draw(WIDTH, WIDTH)
    model.groups["g0"].fit([start, start])
    batches = []
    for _ in range(2):
        x = draw(EXAMPLES, 2 * WIDTH)
        with torch.no_grad():
            batches.append([(x[:300], task(x)[:300]), (x[300:], task(x)[300:])])
    return model, batches


def found(model, learned, held_out, **options):
    return unsharing(model, learned, held_out, losses=squares, **options)


def test_layers_that_need_other_weights_gain_by_being_unshared():
    model, (learned, held_out) = apart(difference=1.0)
    rows = found(model, learned, held_out).layers
    assert [row.layer for row in rows] == ["one.weight", "other.weight"]
    for row in rows:
        assert row.loss_change < -10 * row.standard_error < 0
        # All shared, the template is the best there is already.
        assert abs(row.shared_change) < 0.1 * -row.own_change
        assert row.loss_change == pytest.approx(row.own_change - row.shared_change, rel=1e-6)


def test_the_gain_grows_with_how_different_the_weights_are():
    gains = []
    for difference in (0.1, 0.3, 1.0):
        model, (learned, held_out) = apart(difference)
        gains.append(-found(model, learned, held_out).layers[0].loss_change)
    assert gains == sorted(gains)
    assert gains[0] > 0


def test_layers_that_need_the_same_weights_gain_nothing_though_training_on_does():
    model, (learned, held_out) = apart(difference=0.0, noise=0.3)
    result = found(model, learned, held_out)
    for row in result.layers:
        assert row.shared_change < -0.2 * result.loss
        assert abs(row.loss_change) < 0.03 * -row.shared_change


def test_a_layer_that_reads_a_bank_alone_is_measured():
    class Lone(nn.Module):
        def __init__(self):
            super().__init__()
            self.only = nn.Linear(8, 8, bias=False)

        def forward(self, x):
            return self.only(x)

    plan = npas.plan(Lone(), budget=16, method="uniform", example=(torch.zeros(1, 8),))
    assert [len(group.slots) for group in plan.groups] == [1]
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(64, 8, generator=generator), torch.randn(8, 8, generator=generator)
    model = npas.share({"main": Lone()}, plan)
    batch = [(x, x @ target.t())]
    (row,) = found(model, batch, batch).layers
    assert row.loss_change < 0
    assert row.own_change < row.shared_change <= 0


def test_standard_error_is_that_of_the_differences():
    model, (learned, held_out) = apart(difference=0.5)
    whole = found(model, learned, held_out).layers[0]
    twice = found(model, learned, held_out * 4).layers[0]
    assert twice.loss_change == pytest.approx(whole.loss_change, rel=1e-6)
    assert twice.standard_error == pytest.approx(whole.standard_error / 2, rel=1e-2)
    lone = [(x[:1], y[:1]) for x, y in held_out[:1]]
    assert found(model, learned, lone).layers[0].standard_error is None


def test_batches_say_nothing_but_their_examples():
    model, (learned, held_out) = apart(difference=0.5)
    whole = found(model, learned, held_out)
    cut = [(x[i : i + 50], y[i : i + 50]) for x, y in learned for i in range(0, len(x), 50)]
    parts = found(model, cut, held_out[::-1])
    assert (parts.examples, parts.step_examples) == (EXAMPLES, EXAMPLES)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.loss_change == pytest.approx(other.loss_change, rel=1e-3)


def test_a_step_of_the_bank_has_its_size():
    model, _ = apart(difference=0.5, noise=0.3)
    frozen = Frozen(model, squares)
    (group,) = model.plan.groups
    before = {key: weight.clone() for key, weight in frozen.weights(group).items()}
    gradients = {key: torch.randn_like(weight) for key, weight in before.items()}
    for key in (None, group.slots[0].key):
        walker = Walker(frozen, group, key, gradients)
        walker.move(gradients, walker.rates(0.01, 0.01))
        after = walker.weights()
        moved = {k: float((after[k] - w).norm() / w.norm()) for k, w in before.items()}
        assert moved[group.slots[1].key] == pytest.approx(0.01, rel=1e-3)
        assert moved[group.slots[0].key] == pytest.approx(0.01, rel=0.3)
        walker.go(walker.begun)
        assert all(torch.equal(frozen.weights(group)[k], w) for k, w in before.items())


METHODS = [(name, {}) for name in registry.names("npas.methods")]
METHODS += [
    ("superweights", {"blocks": "stack"}),
    ("superweights", {"blocks": "nest"}),
    ("ssn", {"share": "emb"}),
    ("ssn", {"upsample": "mask"}),
]
TOGETHER = several("resnet-8", "vit-2-32-2", size=16)


def shared(networks, method, fraction=0.3, **options):
    try:
        plan = npas.plan(networks, budget={"fraction": fraction}, method=method, **options)
    except InfeasibleBudgetError as error:
        plan = npas.plan(networks, budget=error.minimum, method=method, **options)
    built = {n.name: npas.build(n.architecture, seed=1) for n in plan.networks}
    return npas.share(built, plan, seed=1)


def labelled(model, count=6, seed=4):
    spec = model.plan.networks[0].architecture
    x = arch.example_input(spec, num_examples=count, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return [(x, torch.randint(spec.num_classes or 10, (count,), generator=generator))]


def check(model):
    """Measure, and hold what is left of the model against what it was; return the rows."""
    model.train()
    kept = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    asked = [p.requires_grad for p in model.parameters()]
    state = torch.random.get_rng_state()
    learned, held_out = labelled(model), labelled(model, seed=5)
    result = unsharing(model, learned, held_out, steps=2, sizes=(0.01, 0.04))
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == asked
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    slots = [slot.key for group in model.plan.groups for slot in group.slots]
    assert [(row.network, row.layer) for row in result.layers] == slots
    for row in result.layers:
        assert math.isfinite(row.loss_change)
        assert math.isfinite(row.standard_error)
    again = unsharing(model, learned, held_out, steps=2, sizes=(0.01, 0.04))
    assert again == result
    plain = model.eval().materialise()
    x, y = held_out[0]
    with torch.no_grad():
        losses = [F.cross_entropy(network.eval()(x), y) for network in plain.values()]
    assert result.loss == pytest.approx(float(sum(losses)), rel=1e-5)
    return result.layers


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_any_method_is_measured_and_the_model_stays_as_it_is(method, options):
    model = shared(TOGETHER, method, **options)
    rows = check(model)
    assert (not rows) == (not model.plan.groups)


def test_every_recipe_is_measured():
    """Those that methods name; one that only a search has, and one that only a fold has."""
    plans = [shared(TOGETHER, method, **options).plan for method, options in METHODS]
    searched = shared(TOGETHER, "ssn", stage="search")
    folded = fold(shared(several("resnet-14", size=16), "soft_sharing", 0.6), 1e-6).model
    for model in (searched, folded):
        assert check(model)
        plans.append(model.plan)
    recipes = {group.recipe for plan in plans for group in plan.groups}
    assert recipes == set(registry.names("npas.recipes"))


def test_recurrent_layers_read_their_own_weights():
    layers = (
        *({"kind": "steps"}, {"kind": "recurrent", "cell": "lstm", "outputs": 8, "layers": 2}),
        *({"kind": "pool", "function": "global"}, {"kind": "linear"}),
    )
    spec = ArchitectureSpec.model_validate(
        {
            **{"name": "declared", "layers": layers, "num_classes": 10},
            **{"input_size": 8, "input_channels": 1},
        }
    )
    model = shared([NetworkSpec(name="main", architecture=spec)], "ssn", 0.5)
    assert any(slot.layer.endswith("weight_hh_l1") for g in model.plan.groups for slot in g.slots)
    rows = check(model)
    assert any(row.loss_change for row in rows if "weight_hh" in row.layer)


def test_only_layers_that_are_asked_for_are_measured_and_alike():
    model = shared(TOGETHER, "uniform")
    whole = unsharing(model, labelled(model), labelled(model, seed=5), steps=2)
    chosen = {(row.network, row.layer) for row in whole.layers[1::3]}
    seen = []
    part = unsharing(
        *(model, labelled(model), labelled(model, seed=5)),
        layers=chosen,
        steps=2,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert part.layers == whole.layers[1::3]
    assert len(seen) == len(chosen)
    assert all(0 < done <= of for done, of in seen)


def test_cross_entropies_are_of_each_example():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    wanted = [F.cross_entropy(z[None], y[None]) for z, y in zip(logits, labels, strict=True)]
    torch.testing.assert_close(cross_entropies(logits, labels), torch.stack(wanted))
    cells, masks = torch.randn(4, 2, 3, 3), torch.randint(2, (4, 3, 3), dtype=torch.uint8)
    found = cross_entropies(cells, masks)
    assert found.shape == (4,)
    torch.testing.assert_close(found.mean(), F.cross_entropy(cells, masks.long()))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, InvalidSpecError, "at least 1 step"),
        ({"sizes": ()}, InvalidSpecError, "at least one size"),
        ({"sizes": (0.1, 0.0)}, InvalidSpecError, "size above 0"),
        ({"learned": []}, DataError, "learned has no batch"),
        ({"held_out": []}, DataError, "held_out has no batch"),
        ({"learned": iter([])}, InvalidSpecError, "give a list of batches"),
        ({"losses": lambda answers, y: F.cross_entropy(answers, y)}, DataError, "one of each"),
        ({"model": nn.Linear(2, 2)}, InvalidSpecError, "not a shared network"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, error, message):
    model = shared(several("resnet-8", size=16), "uniform")
    given = {"model": model, "learned": labelled(model), "held_out": labelled(model)} | changes
    with pytest.raises(error, match=message):
        unsharing(given.pop("model"), given.pop("learned"), given.pop("held_out"), **given)


def test_a_network_of_infinite_weights_is_refused():
    model = shared(several("resnet-8", size=16), "uniform")
    with torch.no_grad():
        model.groups["g0"].templates[0].fill_(math.nan)
    with pytest.raises(DataError, match="not numbers"):
        unsharing(model, labelled(model), labelled(model))
