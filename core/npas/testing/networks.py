"""The promises of a method on real networks: planned, built, run, saved and loaded."""

import copy
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from npas import arch, registry
from npas.delivery.checkpoint import load, save
from npas.errors import InfeasibleBudgetError
from npas.planning.planner import plan as planned
from npas.plans import Plan, Stage, kaiming
from npas.sharing.group import SharedGroup
from npas.sharing.model import SharedModel, share
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec
from npas.testing.counting import check_covers, num_scalars, num_stored
from npas.testing.effort import Effort, tried
from npas.testing.reading import num_unread

FRACTIONS = (0.005, 0.03, 0.1, 0.3, 0.6, 0.9, 0.99, 1.0, 1.01, 1.7, 3.0)
"""Budgets that every plan is tried with, as parts of the dense size."""

UNUSABLE = 10**10
"""A budget that no method can use up."""

MEASURED = 2000
"""Scalars from which on the variance of one weight is measured."""

NUM_IMAGES = 16
"""Of the batch of a first step."""

LEAST_FRACTION = 0.03
"""Part of the dense size from which on a first step is held against that of plain weights."""


def several(*names: str, size: int | None = None) -> tuple[NetworkSpec, ...]:
    """Return networks n0, n1, ... of these architectures.

    Args:
        *names: of the architectures.
        size: height and width of their images, in pixels; None: their own.
    """
    return tuple(
        NetworkSpec(name=f"n{i}", architecture=ArchitectureSpec(name=name, input_size=size))
        for i, name in enumerate(names)
    )


NETWORKS = (
    several("wrn-16-1"),
    several("resnet-20"),
    several("torchvision:mobilenet_v3_small", size=64),
    several("wrn-16-1", "resnet-14"),
    several("resnet-14", "resnet-14"),
)
"""What a method is tried on: one network or several, few shapes or many."""


class Request(NamedTuple):
    """A method asked for real networks.

    Attributes:
        method: its name.
        networks: that are to share, of images of one size.
        options: of the method.
    """

    method: str
    networks: Sequence[NetworkSpec]
    options: Mapping[str, Any]

    def plan(self, budget: float | int | None, stage: Stage = "train") -> Plan:
        """Return the plan for a count of parameters, or a part of the dense size.

        Raises:
            InfeasibleBudgetError: below the minimum.
        """
        limit = BudgetSpec(fraction=budget) if isinstance(budget, float) else budget
        return planned(
            self.networks, budget=limit, method=self.method, stage=stage, **self.options
        )

    def plan_or_minimum(self, fraction: float, stage: Stage = "train") -> Plan:
        """Return the plan for a part of the dense size, or the plan at the minimum."""
        try:
            return self.plan(fraction, stage)
        except InfeasibleBudgetError as error:
            least = error.minimum
        return self.plan(least, stage)

    def dense(self) -> int:
        """Return the dense size of what was asked for."""
        resolved = [
            network.model_copy(update={"architecture": arch.resolve(network.architecture)})
            for network in self.networks
        ]
        return arch.layer_table(resolved).dense


def modules_of(plan: Plan, seed: int = 0) -> dict[str, nn.Module]:
    """Build the networks of a plan."""
    return {net.name: arch.build(net.architecture, seed=seed) for net in plan.networks}


def built(plan: Plan, seed: int = 0) -> SharedModel:
    """Build the networks of a plan and make them share."""
    return share(modules_of(plan, seed), plan, seed=seed)


def images(plan: Plan, count: int = 2) -> Tensor:
    """Return random images that the networks of a plan take."""
    return arch.example_input(plan.networks[0].architecture, num_examples=count, seed=4)


def check_method_plan_law(
    law: str,
    name: str,
    networks: Sequence[NetworkSpec],
    options: Mapping[str, Any] | None = None,
) -> None:
    """Check one promise of a method's plans for real networks, by its name in `PLAN_LAWS`.

    Raises:
        AssertionError: it does not hold.
    """
    PLAN_LAWS[law](Request(name, networks, options or {}))


def check_method_network_law(
    law: str,
    name: str,
    networks: Sequence[Sequence[NetworkSpec]] = NETWORKS,
    options: Mapping[str, Any] | None = None,
    *,
    effort: Effort | None = None,
) -> None:
    """Check one promise of a method's built networks, by its name in `NETWORK_LAWS`.

    Raises:
        AssertionError: it does not hold; a note shows the example.
    """
    effort = effort or Effort()

    def holds(data: st.DataObject) -> None:
        members = data.draw(st.sampled_from(networks), label="networks")
        NETWORK_LAWS[law](Request(name, members, options or {}), data)

    tried(holds, effort.networks, effort)


def _the_ledger_is_exact(request: Request) -> None:
    for fraction in FRACTIONS:
        plan = request.plan_or_minimum(fraction)
        table, ledger = arch.layer_table(plan.networks), plan.ledger
        check_covers(table, plan.groups, plan.private)
        counted = num_scalars(plan.groups, plan.private, table.others)
        assert ledger.total == counted, f"at {fraction}: {ledger} of {counted} parameters"
        assert ledger.total == ledger.templates + ledger.coefficients + ledger.private
        assert ledger.total + ledger.unused == ledger.budget, f"at {fraction}: {ledger}"
        asked = math.floor(Fraction(str(fraction)) * request.dense())
        assert ledger.budget == max(plan.minimum, asked), f"at {fraction}: {ledger}"
        assert ledger.dense == table.dense, f"at {fraction}: {ledger}"
        assert plan.dense == request.dense(), f"at {fraction}: {plan.dense} of {request.dense()}"


def _an_infeasible_budget_is_answered(request: Request) -> None:
    """With the minimum; the minimum is feasible, and one less is not."""
    least = _refused(request, 1).minimum
    plan = request.plan(least)
    assert (plan.minimum, plan.ledger.total) == (least, least)
    error = _refused(request, least - 1)
    assert (error.method, error.budget, error.minimum) == (request.method, least - 1, least)
    assert set(error.alternatives) == set(registry.names("npas.methods")) - {request.method}
    assert least <= request.dense(), f"the minimum {least} is above the dense size"


def _refused(request: Request, budget: int) -> InfeasibleBudgetError:
    try:
        plan = request.plan(budget)
    except InfeasibleBudgetError as error:
        return error
    raise AssertionError(f"a budget of {budget} gives {plan.ledger.total} parameters")


def _the_same_input_gives_the_same_bytes(request: Request) -> None:
    for fraction in FRACTIONS[::3]:
        plan = request.plan_or_minimum(fraction)
        text = plan.to_json()
        assert request.plan_or_minimum(fraction).to_json() == text, "two plans for one request"
        assert Plan.from_json(text) == plan, "the plan does not come back from its JSON"


def _what_cannot_be_used_is_reported(request: Request) -> None:
    plan = request.plan(UNUSABLE)
    assert plan.ledger.unused == UNUSABLE - plan.ledger.total > 0
    assert plan.ledger.total >= request.dense(), "less than dense with more than enough"


def _no_budget_means_the_dense_size(request: Request) -> None:
    plan = request.plan(None)
    assert plan.ledger.total == plan.ledger.budget == plan.ledger.dense == request.dense()


def _drawn(request: Request, data: st.DataObject) -> Plan:
    """Return a plan for a drawn budget and stage."""
    drawn = st.one_of(st.sampled_from(FRACTIONS), st.floats(0.005, 3))
    stages: list[Stage] = ["train", "train", "search"]
    stage = data.draw(st.sampled_from(stages), label="stage")
    return request.plan_or_minimum(data.draw(drawn, label="fraction"), stage)


def _has_what_the_ledger_says(request: Request, data: st.DataObject) -> None:
    plan = _drawn(request, data)
    model = built(plan)
    stored = num_stored(model)
    assert stored == plan.ledger.total, f"{stored} scalars, the plan says {plan.ledger.total}"
    for group in plan.groups:
        shared = model.groups[group.name]
        assert isinstance(shared, SharedGroup)
        shapes = [tuple(weight.shape) for weight in shared()]
        assert shapes == [slot.shape for slot in group.slots]
        unread = num_unread(shared)
        assert not unread, f"{unread} scalars of {group.name} move no weight"


def _starts_as_its_own_network_would(request: Request, data: st.DataObject) -> None:
    """At mean 0 and the deviation of the layer's own initialiser, Kaiming's where that has none.

    Within 10 % and five standard errors of so many independent scalars as the slot reads.
    """
    plan = _drawn(request, data)
    seed = data.draw(st.integers(0, 1000), label="seed")
    modules = modules_of(plan, seed)
    own = {
        slot.key: modules[slot.network].get_parameter(slot.layer).detach().std()
        for group in plan.groups
        for slot in group.slots
    }
    model = share(modules, plan, seed=seed)
    for group in plan.groups:
        weights = [weight.detach() for weight in model.groups[group.name]()]
        for slot, weight in zip(group.slots, weights, strict=True):
            pairs = zip(group.banks, slot.rows, strict=True)
            held = sum(bank.num_template_scalars for bank, row in pairs if row is not None)
            off = 0.1 + 5 / math.sqrt(min(held, weight.numel()))
            wanted = own[slot.network, slot.layer].item() or kaiming(slot.shape)
            if weight.numel() >= MEASURED:
                told = f"{slot.layer} starts with"
                std, mean = weight.std().item(), weight.mean().item()
                assert abs(std / wanted - 1) < off, f"{told} deviation {std}, not {wanted}"
                assert abs(mean) < off * wanted, f"{told} mean {mean}"


def first_step(model: SharedModel, x: Tensor, labels: Tensor) -> tuple[float, float]:
    """Take one small step of gradient descent.

    Args:
        model: to train; it is changed.
        x: inputs of its networks.
        labels: int64, one per input.

    Returns:
        How far the weights of all layers that share moved, as one vector, and how far the same
        step would have moved them as plain weights.
    """
    rate = 1e-3
    losses = [nn.functional.cross_entropy(y, labels) for y in model.train().members(x).values()]
    weights = [
        model.network(slot.network).get_submodule(path).__dict__[attribute]
        for group in model.plan.groups
        for slot in group.slots
        for path, _, attribute in [slot.layer.rpartition(".")]
    ]
    for weight in weights:
        weight.retain_grad()
    before = [weight.detach().clone() for weight in weights]
    torch.autograd.backward(torch.stack(losses).sum())
    torch.optim.SGD(model.parameters(), lr=rate).step()
    after = [weight.detach() for group in model.groups.values() for weight in group()]
    moved = sum(float((b - a).square().sum()) for a, b in zip(before, after, strict=True))
    alone = sum(float(w.grad.square().sum()) for w in weights if w.grad is not None)
    return math.sqrt(moved), rate * math.sqrt(alone)


MOST_OFF = 5.0
"""Factor within which the first step of a shared network is that of a dense one."""


def _moves_as_far_as_alone(request: Request, data: st.DataObject) -> None:
    """From 3 % of dense on: below, a scalar may have hundreds of readers in one layer."""
    fraction = data.draw(st.sampled_from([f for f in FRACTIONS if f >= LEAST_FRACTION]))
    plan = request.plan_or_minimum(fraction)
    if not plan.groups:
        return
    x = images(plan, NUM_IMAGES)
    classes = min(net.architecture.num_classes or 2 for net in plan.networks)
    labels = torch.arange(NUM_IMAGES) % classes
    moved, alone = first_step(built(plan), x, labels)
    ratio = moved / alone
    assert 1 / MOST_OFF < ratio < MOST_OFF, f"the first step is {ratio:.2f} times that of dense"


def _dense_budget_holds_the_dense_network(request: Request, data: st.DataObject) -> None:
    plan = request.plan(1.0)
    modules = modules_of(plan, seed=data.draw(st.integers(0, 1000), label="seed"))
    twins = {name: copy.deepcopy(module).eval() for name, module in modules.items()}
    model = share(modules, plan, fit=True).eval()
    x = images(plan)
    with torch.no_grad():
        for name, logits in model.members(x).items():
            assert torch.equal(logits, twins[name](x)), f"{name} is not the dense network"


def _the_same_seed_gives_the_same_network(request: Request, data: st.DataObject) -> None:
    plan = _drawn(request, data)
    before = torch.get_rng_state()
    one, other, third = (built(plan, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator was used"
    for name, value in one.items():
        assert torch.equal(value, other[name]), f"the same seed gives another {name}"
        if "templates" in name:
            assert not torch.equal(value, third[name]), f"another seed gives the same {name}"


def _trained(model: SharedModel, x: Tensor) -> SharedModel:
    """Move statistics and weights away from where every fresh network stands."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    outputs = model.train().members(x).values()
    torch.autograd.backward(torch.stack([logits.square().mean() for logits in outputs]).sum())
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return model.eval()


def _save_load_and_materialise_are_exact(request: Request, data: st.DataObject) -> None:
    plan = _drawn(request, data)
    x = images(plan)
    model = _trained(built(plan), x)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.safetensors"
        save(model, path)
        loaded = load(path)
        assert loaded.plan == plan, "the file has another plan"
        stored = num_stored(loaded)
        assert stored == plan.ledger.total, f"the file holds {stored}, not {plan.ledger.total}"
        wanted, plain = model.members(x), model.materialise()
        assert all(bool(y.isfinite().all()) for y in wanted.values()), "logits are not finite"
        for name, logits in loaded.members(x).items():
            assert torch.equal(logits, wanted[name]), f"{name} is another after save and load"
            assert torch.equal(plain[name](x), wanted[name]), f"{name} is another when plain"
    assert sum(num_stored(network) for network in plain.values()) == plan.ledger.dense


PLAN_LAWS: dict[str, Callable[[Request], None]] = {
    "the ledger is exact": _the_ledger_is_exact,
    "an infeasible budget is answered": _an_infeasible_budget_is_answered,
    "the same input gives the same bytes": _the_same_input_gives_the_same_bytes,
    "what cannot be used is reported": _what_cannot_be_used_is_reported,
    "no budget means the dense size": _no_budget_means_the_dense_size,
}
"""Promises of plans for real networks, by name."""

NETWORK_LAWS: dict[str, Callable[[Request, st.DataObject], None]] = {
    "has what the ledger says": _has_what_the_ledger_says,
    "starts as its own network would": _starts_as_its_own_network_would,
    "moves as far as alone": _moves_as_far_as_alone,
    "dense budget holds the dense network": _dense_budget_holds_the_dense_network,
    "the same seed gives the same network": _the_same_seed_gives_the_same_network,
    "save, load and materialise are exact": _save_load_and_materialise_are_exact,
}
"""Promises of built networks, by name."""
