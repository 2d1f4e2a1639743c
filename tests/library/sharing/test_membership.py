"""One network of several, alone: it computes the same, and its file holds what it reads."""

import copy
import json

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import arch, recipes, registry
from npas.delivery.checkpoint import num_parameters
from npas.errors import InfeasibleBudgetError, PlanError, UnknownNameError
from npas.plans import Bank, Group
from npas.sharing.group import SharedGroup
from npas.sharing.membership import member
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.testing import group_of
from npas.testing.counting import check_covers, num_stored
from npas.testing.networks import several
from npas.testing.reading import num_unread
from pydantic import ValidationError

TRIALS = [(name, {}) for name in registry.names("npas.methods")]
TRIALS += [
    ("ssn", {"share": "emb"}),
    ("ssn", {"upsample": "mask"}),
    ("soft_sharing", {"fold": 0.5}),
]
MIXED = several("resnet-8", "vit-4-64-4", size=16)
ALIKE = several("densenet-10-4", "resnet-8", size=16)
TOGETHER = {"mixed": (MIXED, (0.1, 1.2)), "alike": (ALIKE, (0.1, 0.5))}
"""Networks, and the parts of their dense size that are budgets."""


def shared(networks, method, fraction, stage="train", **options):
    asked = {"method": method, "stage": stage, **options}
    try:
        plan = npas.plan(networks, budget={"fraction": fraction}, **asked)
    except InfeasibleBudgetError as error:
        plan = npas.plan(networks, budget=error.minimum, **asked)
    built = {n.name: npas.build(n.architecture, seed=1) for n in plan.networks}
    model = npas.share(built, plan, seed=1)
    model.extra = {"kept": [1]}
    with torch.no_grad():
        model.members(images(model))  # statistics that are not the initial ones
    return model


def images(model):
    return arch.example_input(model.plan.networks[0].architecture, num_examples=3, seed=4)


def logits(model, name=None):
    with torch.no_grad():
        found = model.eval().members(images(model))
    return found[name] if name else next(iter(found.values()))


def check_member(model, name, folder):
    """Check all that is promised of one network of a model; return it."""
    wanted = logits(model, name)
    alone = member(model, name)
    torch.testing.assert_close(logits(alone), wanted, rtol=1e-4, atol=1e-5)
    plan = alone.plan
    assert [network.name for network in plan.networks] == [name] == list(alone.network_names)
    table = arch.layer_table(plan.networks)
    check_covers(table, plan.groups, plan.private)
    ledger = plan.ledger
    assert ledger.total == ledger.budget == num_stored(alone) == num_parameters(alone)
    assert ledger.dense == table.dense
    assert (plan.method, plan.stage, alone.extra) == (
        model.plan.method,
        model.plan.stage,
        {"kept": [1]},
    )
    if not any(group.recipe == "stack" for group in plan.groups):
        assert [num_unread(group) for group in alone.groups.values()] == [0] * len(plan.groups)
    npas.save(alone, folder / "one.npas")
    npas.save(model, folder / "all.npas")
    sizes = [(folder / each).stat().st_size for each in ("one.npas", "all.npas")]
    assert sizes[0] < sizes[1]
    loaded = npas.load(folder / "one.npas")
    assert loaded.plan == plan
    assert torch.equal(logits(loaded), logits(alone))
    return alone


@pytest.mark.parametrize("which", TOGETHER)
@pytest.mark.parametrize(("method", "options"), TRIALS)
def test_a_member_computes_the_same_and_its_file_holds_less(method, options, which, tmp_path):
    networks, fractions = TOGETHER[which]
    for fraction in fractions:
        model = shared(networks, method, fraction, **options)
        for name in model.network_names:
            check_member(model, name, tmp_path)


def test_a_member_of_the_search_stage_and_of_a_folded_model(tmp_path):
    searched = shared(ALIKE, "ssn", 0.3, stage="search")
    assert {group.recipe for group in searched.plan.groups} == {"resize"}
    folded = npas.fold(shared(ALIKE, "soft_sharing", 0.9), 0.01).model
    assert "loop" in {group.recipe for group in folded.plan.groups}
    for model in (searched, folded):
        for name in model.network_names:
            check_member(model, name, tmp_path)


@pytest.mark.parametrize("method", ["superweights", "soft_sharing", "ssn"])
def test_a_member_can_be_put_to_all_uses(method):
    alone = member(shared(ALIKE, method, 0.4), "n1")
    other = npas.plan(alone.plan.networks, budget={"fraction": 0.3}, method="block_mix")
    assert alone.regroup(other).plan == other
    torch.testing.assert_close(logits(npas.fold(alone, 1.0).model), logits(alone))
    npas.similarity(alone)
    alone.train()(images(alone)).sum().backward()
    assert all(parameter.grad is not None for parameter in alone.parameters())


def test_a_member_is_a_copy_in_the_same_mode_and_frozen_likewise():
    model = shared(ALIKE, "superweights", 0.4).double().train()
    for group in model.groups.values():
        group.templates[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    alone = member(model, "n0")
    assert alone.training
    assert all(module.training for module in alone.modules())
    assert not next(iter(alone.groups.values())).templates[0].requires_grad
    assert {parameter.dtype for parameter in alone.parameters()} == {torch.float64}
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.add_(1)
    alone.extra["kept"].append(2)
    assert model.extra == {"kept": [1]}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_member_is_had_in_the_midst_of_a_step_and_before_the_first_use():
    model = shared(ALIKE, "superweights", 0.4)
    model.train().members(images(model))["n1"].sum()  # weights belong to a graph
    torch.testing.assert_close(logits(member(model, "n1")), logits(model, "n1"))
    plan = model.plan
    fresh = npas.share({n.name: npas.build(n.architecture) for n in plan.networks}, plan)
    torch.testing.assert_close(logits(member(fresh, "n1")), logits(fresh, "n1"))


def test_recurrent_layers_read_the_weights_of_a_member():
    layers = [
        *({"kind": "steps"}, {"kind": "recurrent", "cell": "lstm", "outputs": 16, "layers": 2}),
        *({"kind": "pool", "function": "global"}, {"kind": "linear"}),
    ]
    steps = ArchitectureSpec(
        name="declared", layers=layers, input_channels=3, input_size=16, num_classes=10
    )
    networks = (NetworkSpec(name="steps", architecture=steps), *several("resnet-8", size=16))
    model = shared(networks, "ssn", 0.3)
    for name in model.network_names:
        torch.testing.assert_close(logits(member(model, name)), logits(model, name))


def test_a_lone_network_is_copied_and_another_name_refused():
    model = shared(several("resnet-8"), "superweights", 0.4)
    alone = member(model, "n0")
    assert alone is not model
    assert alone.plan == model.plan
    assert torch.equal(logits(alone), logits(model))
    with pytest.raises(UnknownNameError, match="did you mean n0"):
        member(model, "n7")


def test_a_member_of_a_member_of_shuffled_blocks_is_the_same():
    model = shared(ALIKE, "block_mix", 0.1)
    assert any("shuffled" in group.settings for group in model.plan.groups)
    alone = member(model, "n1")
    assert torch.equal(logits(member(alone, "n1")), logits(alone))


def parts():
    """Yield parts of small groups as JSON, one of each recipe that knows of the whole."""
    shapes = [(3, 2), (2, 3), (1, 2), (4, 4)]
    one = Bank(shape=(4, 4), size=16, templates=1, rows=0)
    yield group_of("scatter", [one], shapes, [[0]] * 4), [1, 2]
    flat = one.model_copy(update={"rows": 3 + 3 + 8})
    yield group_of("slice", [flat], shapes, [[0], [3], [6], [14]]), [0, 2]
    maps = Bank(shape=(2, 2), size=3 * (3 + 8), templates=1, rows=0)
    vectors = one.model_copy(update={"rows": 6})
    rows = [[0, 0], [2, 0], [4, 0], [6, None]]
    yield group_of("embed", [vectors, maps], shapes, rows), [0, 3]
    mixed = Bank(shape=(4, 4), size=16, templates=2, rows=4)
    yield group_of("resize", [mixed], shapes, [[0], [1], [2], [3]]), [0, 2]
    block = Bank(shape=(3, 2), size=6, templates=2, rows=1 + 2 + 1 + 4)
    yield group_of("stack", [block], shapes, [[0], [1], [3], [4]], shuffled=0), [1, 2]
    nests = [
        Bank(shape=shape, size=size, templates=1, rows=rows)
        for shape, size, rows in zip(sorted(shapes), (2, 4, 2, 8), (4, 2, 2, 0), strict=True)
    ]
    rows = [[0, 0, 0, None], [1, 1, None, None], [2, None, None, None], [3, 1, 1, 0]]
    yield group_of("nest", nests, [(3, 2), (2, 3), (1, 2), (4, 4)], rows), [0, 2]


PARTS = {
    group.recipe: recipes.part(group, slots).group.model_dump_json() for group, slots in parts()
}
CLAIMS = st.one_of(st.integers(-1, 20), st.sampled_from([2**20, 2**48, 2**70, "", "1", "9,9"]))
FIELDS = {
    "settings": ["whole", "ring", "shuffled", "max_windows", "layers", "upsample"],
    "slots": ["place", "rows", "shape"],
    "banks": ["shape", "size", "rows"],
}


@settings(deadline=None, derandomize=True, max_examples=200)
@given(data=st.data())
def test_a_damaged_part_is_refused_or_makes_weights(data):
    """Whatever a file says of places and of the whole: a plan's error, or a group that works."""
    said = json.loads(PARTS[data.draw(st.sampled_from(sorted(PARTS)))])
    for where in data.draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=2)):
        field, value = data.draw(st.sampled_from(FIELDS[where])), data.draw(CLAIMS)
        entry = said[where] if where == "settings" else data.draw(st.sampled_from(said[where]))
        if field in ("rows", "shape") and where != "settings":
            old = entry[field]
            value = [value, *old[1:]] if isinstance(old, list) else value
        entry[field] = value
    try:
        made = SharedGroup(Group.model_validate_json(json.dumps(said)))
    except (PlanError, ValidationError):
        return
    made.initialise(torch.Generator().manual_seed(0))
    assert all(bool(weight.isfinite().all()) for weight in made())


def test_a_member_of_a_coded_file_is_coded_as_it_was(tmp_path):
    """Where all of it was in the file: a layer that is composed for it was not."""
    networks = list(several("resnet-8", "wrn-10-1"))
    plan = npas.plan(networks, budget={"bytes": 14_000}, method="block_mix")
    built = {n.name: npas.build(n.architecture, seed=1) for n in plan.networks}
    npas.save(npas.share(built, plan), tmp_path / "all")
    for name in built:
        alone = npas.load(tmp_path / "all").member(name)
        assert alone.plan.groups
        npas.save(alone, tmp_path / name)
        assert (tmp_path / name).stat().st_size <= 14_000
        again, state = npas.load(tmp_path / name), alone.state_dict()
        assert again.origin.coded == alone.origin.coded
        assert all(torch.equal(tensor, state[n]) for n, tensor in again.state_dict().items())
