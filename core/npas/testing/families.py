"""The promises of a family of architectures, tried on its example and on the names it lists."""

import tempfile
import typing
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from npas import arch
from npas.arch import Family
from npas.arch.layers import KINDS, LayerTable, Role
from npas.delivery.checkpoint import load, save
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.planning.planner import plan as planned
from npas.plans import Plan
from npas.sharing.model import share
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec
from npas.testing.counting import check_covers, num_scalars, num_stored

MAX_NAMES = 30
"""Names of one family that are tried, spread over its list."""

MAX_LAYERS = 150
"""Of networks that are planned: larger ones take a while, and `benchmarks/sweep.py` has them."""


def check_family(name: str) -> None:
    """Check all promises of a family; see `npas.arch.Family`.

    Args:
        name: of its file.

    Raises:
        AssertionError: a promise does not hold.
    """
    for law in FAMILY_LAWS:
        check_family_law(law, name)


def check_family_law(law: str, name: str) -> None:
    """Check one promise of a family, by its name in `FAMILY_LAWS`; see `check_family`."""
    FAMILY_LAWS[law](arch.known_families()[name])


def _names(family: Family) -> list[str]:
    """Return the example and some listed names."""
    listed = list(family.names())
    step = max(1, len(listed) // MAX_NAMES)
    return [family.example, *listed[::step]]


def _resolved(name: str) -> ArchitectureSpec:
    return arch.resolve(ArchitectureSpec(name=name))


def _table(spec: ArchitectureSpec) -> LayerTable:
    return arch.layer_table([NetworkSpec(name="main", architecture=spec)])


def _answers(network: nn.Module, spec: ArchitectureSpec) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.eval()(arch.example_input(spec))
    return logits


def _names_belong_to_one_family(family: Family) -> None:
    families = arch.known_families()
    for name in (family.example, *family.names()):
        found = [key for key, other in families.items() if other.matches(name)]
        assert len(found) == 1, f"{name} belongs to {found}"
        assert families[found[0]] is family, f"{name} belongs to {found[0]}"
    assert family.title, "a family has a title"


def _the_seed_alone_decides(family: Family) -> None:
    before = torch.get_rng_state()
    one, other, third = (arch.build(family.example, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator was used"
    assert all(torch.equal(one[name], other[name]) for name in one), "one seed, two networks"
    assert any(not torch.equal(one[name], third[name]) for name in one), "the seed does nothing"


def _the_meta_device_has_the_same_parameters(family: Family) -> None:
    real = arch.build(family.example, seed=0)
    meta = arch.build(family.example, device="meta")
    assert all(p.is_meta for p in meta.parameters()), "a parameter is not on the meta device"
    shapes = [{name: p.shape for name, p in net.named_parameters()} for net in (real, meta)]
    assert shapes[0] == shapes[1], "other parameters on the meta device"


def _reads_its_sizes_and_answers_with_its_classes(family: Family) -> None:
    usual = _resolved(family.example)
    other = usual.model_copy(
        update={"num_classes": 7, "input_channels": (usual.input_channels or 0) + 1}
    )
    for spec in (usual, other):
        logits = _answers(arch.build(spec, seed=0), spec)
        per_image = arch.task_of_family(family) == "classes"
        cells = () if per_image else (spec.input_size, spec.input_size)
        wanted = (2, spec.num_classes, *cells)
        assert logits.shape == wanted, f"{tuple(logits.shape)}, not {wanted}"
        assert bool(logits.isfinite().all()), "logits that are not finite"


def _every_layer_has_a_role(family: Family) -> None:
    for name in _names(family):
        layers = _table(_resolved(name)).layers
        assert {layer.role for layer in layers} <= set(typing.get_args(Role))
        assert {layer.kind for layer in layers} <= set(KINDS)
        assert all(layer.stage for layer in layers), f"{name}: a layer without a stage"
        assert layers[-1].role == "classifier", f"{name}: the last layer is no classifier"


def _unknown_options_are_refused(family: Family) -> None:
    spec = ArchitectureSpec(name=family.example, options={"no_such_option": 1})
    try:
        arch.resolve(spec)
    except InvalidSpecError as error:
        field = error.field
    else:
        raise AssertionError("an option that is not there is accepted")
    assert field == "/architecture/options/no_such_option", field


def _names_are_planned(family: Family) -> None:
    """At half the dense size, or at the minimum: the ledger is exact."""
    for name in _names(family):
        if len(_table(_resolved(name)).layers) > MAX_LAYERS:
            continue
        plan = _plan(name)
        table = arch.layer_table(plan.networks)
        check_covers(table, plan.groups, plan.private)
        counted = num_scalars(plan.groups, plan.private, table.others)
        assert counted == plan.ledger.total <= plan.ledger.budget, f"{name}: {plan.ledger}"
        assert plan.ledger.dense == table.dense, f"{name}: {plan.ledger}"


def _plan(name: str) -> Plan:
    try:
        return planned(name, budget=BudgetSpec(fraction=0.5))
    except InfeasibleBudgetError as error:
        return planned(name, budget=error.minimum)


def _a_shared_network_learns_and_comes_back(family: Family) -> None:
    """Every parameter gets a gradient; saved and loaded, the outputs are bit-equal."""
    plan = _plan(family.example)
    spec = plan.networks[0].architecture
    model = share(arch.build(spec, seed=0), plan)
    stored = num_stored(model)
    assert stored == plan.ledger.total, f"{stored} scalars, the plan says {plan.ledger.total}"
    torch.autograd.backward(model(arch.example_input(spec)).square().sum())
    still = [name for name, p in model.named_parameters() if p.grad is None]
    assert not still, f"parameters that no gradient reaches: {still}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(model, path)
        same = torch.equal(_answers(load(path), spec), _answers(model, spec))
    assert same, "another network after save and load"


def _narrower_is_smaller_or_not_offered(family: Family) -> None:
    for name in _names(family):
        spec = _resolved(name)
        narrow = family.narrower(spec, 0.5)
        if narrow is not None:
            sizes = _table(arch.resolve(narrow)).dense, _table(spec).dense
            assert sizes[0] < sizes[1], f"{name}: {sizes[0]} at half the width of {sizes[1]}"


def _other_sizes_answer_for_the_same_images(family: Family) -> None:
    """Each is a network of its own family, always in the same order, and none is there twice."""
    spec = _resolved(family.example)
    found = arch.other_sizes(spec)
    assert found == arch.other_sizes(spec), "two lists for one network"
    texts = [arch.resolve(each).model_dump_json() for each in (spec, *found)]
    assert len(set(texts)) == len(texts), "a size is there twice"
    for each in found:
        assert arch.family_of(each) is family, f"{each.told} is of another family"
        sizes = [(s.num_classes, s.input_channels, s.input_size) for s in (each, spec)]
        assert sizes[0] == sizes[1], f"{each.told} is for other images"
        dense = _table(arch.resolve(each)).dense, _table(spec).dense
        assert dense[0] != dense[1], f"{each.told} is of the same size"


FAMILY_LAWS: dict[str, Callable[[Family], None]] = {
    "names belong to one family": _names_belong_to_one_family,
    "the seed alone decides": _the_seed_alone_decides,
    "the meta device has the same parameters": _the_meta_device_has_the_same_parameters,
    "reads its sizes and answers with its classes": _reads_its_sizes_and_answers_with_its_classes,
    "every layer has a role": _every_layer_has_a_role,
    "unknown options are refused": _unknown_options_are_refused,
    "names are planned": _names_are_planned,
    "a shared network learns and comes back": _a_shared_network_learns_and_comes_back,
    "narrower is smaller or not offered": _narrower_is_smaller_or_not_offered,
    "other sizes answer for the same images": _other_sizes_answer_for_the_same_images,
}
"""Promises of a family, by name."""
