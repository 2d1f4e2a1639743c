"""One question of a sweep: a network, a method, a budget. A lawful plan or a lawful refusal."""

import math
from fractions import Fraction

import torch

from npas import arch, registry
from npas.delivery.checkpoint import num_parameters
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.planning.planner import plan as planned
from npas.plans import Plan
from npas.sharing.model import share
from npas.spec import ArchitectureSpec, BudgetSpec
from npas.testing.counting import check_covers, num_scalars, num_stored

Answer = Plan | InfeasibleBudgetError

SMALL = 64
"""Pixels of the images that large networks are run on, where they run on so few."""


def answer(architecture: str | ArchitectureSpec, method: str, percent: float) -> Answer:
    """Return the plan for so many percent of the dense size, or the error that there is none."""
    budget = BudgetSpec(fraction=percent / 100)
    try:
        return planned(architecture, budget=budget, method=method)
    except InfeasibleBudgetError as error:
        return error


def check_answer(found: Answer, method: str, percent: float, dense: int) -> None:
    """Check that an answer keeps the laws.

    Args:
        found: to the question.
        method: that was asked for.
        percent: of the dense size.
        dense: size of the network that was asked for.

    Raises:
        AssertionError: it does not.
    """
    budget = math.floor(Fraction(str(percent / 100)) * dense)
    if isinstance(found, InfeasibleBudgetError):
        assert (found.method, found.budget) == (method, budget), found
        assert budget < found.minimum <= dense, f"{found.minimum} of {dense}"
        others = set(registry.names("npas.methods")) - {method}
        assert set(found.alternatives) == others, f"alternatives: {found.alternatives}"
        return
    ledger, table = found.ledger, arch.layer_table(found.networks)
    check_covers(table, found.groups, found.private)
    assert ledger.total == num_scalars(found.groups, found.private, table.others), ledger
    assert ledger.total + ledger.unused == ledger.budget == budget >= found.minimum, ledger
    assert (ledger.dense, found.dense) == (table.dense, dense), ledger


def check_one_minimum(answers: dict[float, Answer]) -> None:
    """Check that all answers of one method for one network name one minimum, and keep to it.

    Args:
        answers: by percent.

    Raises:
        AssertionError: they do not; or there is no plan at the dense size.
    """
    assert len({found.minimum for found in answers.values()}) == 1, "several minima"
    feasible = [
        not isinstance(answers[percent], InfeasibleBudgetError) for percent in sorted(answers)
    ]
    assert feasible == sorted(feasible), "a larger budget is refused, a smaller is not"
    assert all(isinstance(answers[p], Plan) for p in answers if p >= 100), "dense is refused"


def check_built(name: str, method: str, percent: float) -> Plan:
    """Build a plan's network, run it forward and backward, count it by storage, make it plain.

    Args:
        name: of the architecture; it is built for 7 classes where it can be, small images.
        method: of sharing.
        percent: of the dense size; below the minimum, the minimum is built.

    Returns:
        The plan.

    Raises:
        AssertionError: it has not what the plan says, or does not learn.
    """
    spec = _small(name)
    found = answer(spec, method, percent)
    if isinstance(found, InfeasibleBudgetError):
        found = planned(spec, budget=found.minimum, method=method)
    built_from = found.networks[0].architecture
    model = share(arch.build(built_from, seed=0), found)
    stored = num_stored(model)
    assert stored == found.ledger.total <= found.ledger.budget, f"{stored}: {found.ledger}"
    logits = model(arch.example_input(built_from))
    assert len(logits) == 2, f"logits of {tuple(logits.shape)} for two examples"
    torch.autograd.backward(logits.square().mean())
    for group in model.groups.values():
        gradients = [p.grad for p in group.parameters() if p.grad is not None]
        assert len(gradients) == len(list(group.parameters())), "a bank without gradient"
        assert all(bool(g.isfinite().all()) for g in gradients), "gradients are not finite"
        assert any(bool(g.any()) for g in gradients), "gradients are zero"
    plain = model.materialise()["main"]
    assert num_stored(plain) == num_parameters(plain) == found.ledger.dense
    return found


def _small(name: str) -> ArchitectureSpec:
    """Return the network for small images, if it runs on them."""
    spec = arch.resolve(ArchitectureSpec(name=name))
    if (spec.input_size or 0) <= SMALL:
        return spec
    for size in (SMALL, SMALL * 3 // 2):
        smaller = spec.model_copy(update={"input_size": size, "num_classes": 7})
        try:
            planned(smaller)
        except InvalidSpecError:
            continue
        return smaller
    return spec
