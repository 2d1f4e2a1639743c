"""Networks that join the banks of others: what they add, and that nothing else changes."""

import npas
import pytest
import torch
from npas import registry
from npas.errors import InfeasibleBudgetError, InvalidSpecError, PlanError
from npas.planning.joining import joined
from npas.planning.problem import PlanningProblem
from npas.plans import Plan
from npas.sharing.joining import with_joined
from npas.spec import ArchitectureSpec, BudgetSpec, MethodSpec, NetworkSpec
from npas.testing.counting import num_stored

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def network(name, architecture):
    spec = ArchitectureSpec(name=architecture, num_classes=5, input_channels=3, input_size=16)
    return NetworkSpec(name=name, architecture=spec)


OLD = [network("large", "wrn-10-2"), network("small", "resnet-14")]
NEW = [network("late", "wrn-10-1"), network("later", "vit-2-32-2")]


def shared(method):
    fraction = {"dense": 1.0, "soft_sharing": 0.95}.get(method, 0.5)
    plan = npas.plan(OLD, budget={"fraction": fraction}, method=method)
    networks = {each.name: npas.build(each.architecture) for each in plan.networks}
    return npas.share(networks, plan, seed=1).eval()


def problem(networks, budget):
    return PlanningProblem.resolved(
        tuple(networks),
        budget=budget,
        asked=MethodSpec(name="dense"),
        unshared=(),
        share_embeddings=False,
    )


METHODS = [name for name in registry.names("npas.methods") if name not in ("auto", "narrow")]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_changes_for_those_that_were_there(method):
    model = shared(method)
    with torch.no_grad():
        before = model.members(IMAGES)
    plan = joined(model.plan, problem(NEW, None))
    more = with_joined(model, plan, seed=2).eval()
    with torch.no_grad():
        after = more.members(IMAGES)
    assert list(after) == ["large", "small", "late", "later"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert num_stored(more) == plan.ledger.total <= plan.ledger.budget
    assert all(torch.isfinite(logits).all() for logits in after.values())


@pytest.mark.parametrize("method", ["block_mix", "superweights", "ssn", "soft_sharing"])
def test_training_what_is_new_leaves_the_old_bits(method):
    model = shared(method)
    with torch.no_grad():
        before = model.members(IMAGES)
    more = npas.join(model, NEW[:1], budget={"fraction": 0.5}, seed=2)
    optimizer = torch.optim.SGD(
        [p for p in more.parameters() if p.requires_grad], lr=0.1, momentum=0.9
    )
    more.train()
    assert list(more.members(IMAGES)) == ["late"]
    for _ in range(3):
        optimizer.zero_grad()
        more.members(IMAGES)["late"].square().mean().backward()
        optimizer.step()
    more.eval()
    with torch.no_grad():
        after = more.members(IMAGES, more.network_names)
    assert all(torch.equal(before[name], after[name]) for name in before)
    start = npas.join(model, NEW[:1], budget={"fraction": 0.5}, seed=2).eval()
    with torch.no_grad():
        assert not torch.equal(after["late"], start.members(IMAGES)["late"])


def test_a_tenth_of_the_dense_size_is_enough_where_there_are_blocks():
    model = shared("block_mix")
    plan = joined(model.plan, problem(NEW[:1], BudgetSpec(fraction=0.1)))
    dense = plan.ledger.dense - model.plan.ledger.dense
    added = plan.ledger.total - model.plan.ledger.total
    assert 0.05 * dense < added <= 0.1 * dense
    layers = [
        slot.layer for group in plan.groups for slot in group.slots if slot.network == "late"
    ]
    assert len(layers) == 5  # of seven: the stem and the classifier have plain weights


def test_more_budget_is_more_plain_weights_up_to_all():
    model = shared("block_mix")
    dense = problem(NEW[:1], None)
    shares = []
    for fraction in (0.1, 0.3, 0.6, 1.0):
        plan = joined(model.plan, problem(NEW[:1], BudgetSpec(fraction=fraction)))
        shares.append(sum(each.network == "late" for each in plan.private))
        assert plan.ledger.total - model.plan.ledger.total <= fraction * 77_000 + 1_000
    assert shares == sorted(shares)
    plan = joined(model.plan, dense)
    assert not [s for g in plan.groups for s in g.slots if s.network == "late"]


def test_too_small_a_budget_names_the_least():
    model = shared("block_mix")
    with pytest.raises(InfeasibleBudgetError) as caught:
        joined(model.plan, problem(NEW[:1], BudgetSpec(parameters=10)))
    plan = joined(model.plan, problem(NEW[:1], BudgetSpec(parameters=caught.value.minimum)))
    assert plan.ledger.total == model.plan.ledger.total + caught.value.minimum


def test_others_can_join_those_that_joined(tmp_path):
    model = shared("superweights")
    first = npas.join(model, NEW[:1], budget={"fraction": 0.6}, frozen=False).eval()
    second = npas.join(first, NEW[1:], budget={"fraction": 1.0}, frozen=False).eval()
    with torch.no_grad():
        known, more = first.members(IMAGES), second.members(IMAGES)
    assert all(torch.equal(known[name], more[name]) for name in known)
    npas.save(second, tmp_path / "model.safetensors")
    again = npas.load(tmp_path / "model.safetensors")
    with torch.no_grad():
        loaded = again.members(IMAGES)
    assert all(torch.equal(loaded[name], more[name]) for name in more)
    assert again.plan == second.plan


@pytest.mark.parametrize("method", ["block_mix", "superweights", "ssn"])
def test_a_network_that_joined_has_a_file_of_its_own(method, tmp_path):
    more = npas.join(shared(method), NEW[:1], budget={"fraction": 0.3}, frozen=False).eval()
    late = more.member("late")
    npas.save(late, tmp_path / "late.safetensors")
    with torch.no_grad():
        alone = npas.load(tmp_path / "late.safetensors")(IMAGES)
        assert torch.allclose(alone, more.members(IMAGES)["late"], atol=1e-5)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(InvalidSpecError, match="another name") as caught:
        npas.join(shared("block_mix"), [network("small", "wrn-10-1")], budget={"fraction": 0.3})
    assert caught.value.field == "/networks/0/name"


def test_sizes_that_are_left_open_are_those_that_are_there():
    open_sizes = NetworkSpec(name="late", architecture=ArchitectureSpec(name="wrn-10-1"))
    more = npas.join(shared("block_mix"), [open_sizes], budget={"fraction": 0.3}, frozen=False)
    with torch.no_grad():
        assert more.eval().ensemble()(IMAGES).shape == (3, 5)


def test_networks_for_other_images_are_refused():
    other = ArchitectureSpec(name="wrn-10-1", num_classes=7, input_channels=3, input_size=16)
    networks = [NetworkSpec(name="late", architecture=other)]
    with pytest.raises(InvalidSpecError, match="num_classes 5"):
        npas.join(shared("block_mix"), networks, budget={"fraction": 0.3})


def test_more_networks_than_a_plan_may_have_are_refused():
    many = [network(f"n{i}", "wrn-10-1") for i in range(15)]
    with pytest.raises(InvalidSpecError, match="17 networks"):
        joined(shared("block_mix").plan, problem(many, None))


def test_precision_and_what_is_frozen_are_kept_and_nothing_said_of_all_is():
    model = shared("block_mix").double()
    model.extra = {"accuracy": 0.5, "ladder": {"rungs": []}, "seed": 3}
    for group in model.groups.values():
        group.templates.requires_grad_(False)
    more = npas.join(model, NEW[:1], budget={"fraction": 0.3}, frozen=False)
    assert {p.dtype for p in more.parameters()} == {torch.float64}
    templates = [p for name, p in more.named_parameters() if "templates" in name]
    assert not any(p.requires_grad for p in templates)
    assert more.extra == {"seed": 3}
    assert len(more.anytime().ladder.rungs) == 3


def test_a_plan_of_other_networks_is_refused():
    model, other = shared("block_mix"), shared("superweights")
    with pytest.raises(PlanError):
        with_joined(model, joined(other.plan, problem(NEW, None)), seed=0)
    with pytest.raises(PlanError):
        with_joined(model, model.plan, seed=0)


def test_frozen_is_all_that_others_read():
    more = npas.join(shared("block_mix"), NEW[:1], budget={"fraction": 0.3})
    assert more.active == ("late",)
    trained = {name for name, p in more.named_parameters() if p.requires_grad}
    late = more.network_names.index("late")
    assert {name for name in trained if name.startswith("networks.")} == {
        f"networks.{late}.{name}" for name, _ in more.network("late").named_parameters()
    }
    assert not [name for name in trained if "templates" in name]
    assert [name for name in trained if "coefficients" in name]


def test_the_same_plan_comes_of_the_same_question():
    model = shared("superweights")
    plans = [joined(model.plan, problem(NEW, BudgetSpec(fraction=0.9))) for _ in range(2)]
    assert plans[0].to_json() == plans[1].to_json()


def test_bytes_of_the_file_that_is_joined_are_not_those_of_the_new_one():
    plan = npas.plan(OLD, budget={"bytes": 60_000}, method="superweights")
    more = joined(plan, problem(NEW, None))
    assert plan.file is not None
    assert more.file is None
    assert more.ledger.budget > plan.ledger.budget


def test_plan_of_layers_that_its_networks_have_not_is_refused():
    plan = npas.plan(OLD, budget={"fraction": 0.5}, method="superweights")
    text = plan.to_json().replace("stages.0.0.conv1", "stages.0.0.conv9")
    with pytest.raises(InvalidSpecError, match="layers that its networks have not"):
        joined(Plan.from_json(text), problem(NEW, None))
