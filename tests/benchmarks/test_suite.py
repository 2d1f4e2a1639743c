"""The suite of cells, what is said of them, and what stands in place of a search's evidence."""

import math
import threading
from dataclasses import replace

import npas
import pytest
import torch
from npas import arch
from npas.arch.matching import resolve_for
from npas.data import facts
from npas.sharing import build
from npas.spec import DatasetSpec, TrainingSpec

from benchmarks import evidence
from benchmarks.arms import ARMS, Cell, Setting, dense_size, first_plan
from benchmarks.evidence import KINDS, evidence_of
from benchmarks.regret import Results, by_cell, summary
from benchmarks.regrouping import measured, mutated
from benchmarks.runs import Place, make
from benchmarks.scores import _PM
from benchmarks.suite import SUITES, SuiteCell, setting_of, settings

TINY = Setting(
    name="digits-tiny",
    architecture={"name": "wrn-10-1"},
    dataset=DatasetSpec(name="digits", train_images=200, test_images=40),
    training=TrainingSpec(epochs=1, batch_size=32, validation_fraction=0, keep="last"),
)
CELL = Cell(arm="block_mix", budget=0.4, seed=0)


def test_cells_to_choose_on_and_cells_to_report_have_no_network_in_common():
    development, test = (SUITES[name] for name in ("development", "test"))
    assert {cell.network for cell in development}.isdisjoint(cell.network for cell in test)
    kinds = [{cell.network.partition("-")[0] for cell in cells} for cells in SUITES.values()]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 5
    on_cifar = {(cell.network, cell.budget) for cell in test if cell.dataset == "cifar10"}
    assert on_cifar == {(cell.network, part) for cell in test for part in (0.25, 0.1)}
    assert (len(development), len(test)) == (6, 12)


@pytest.mark.parametrize("suite", SUITES)
def test_the_default_method_fits_every_cell(suite):
    assert sum(len(budgets) for _, budgets in settings(suite)) == len(SUITES[suite])
    for cell in SUITES[suite]:
        setting = setting_of(cell)
        spec = npas.spec.ArchitectureSpec.model_validate(setting.architecture)
        size = arch.layer_table([npas.spec.NetworkSpec(name="main", architecture=_full(spec))])
        plan = npas.plan(
            _full(spec), budget={"fraction": cell.budget}, method="block_mix", search=False
        )
        assert plan.ledger.total <= cell.budget * size.dense


def _full(spec):
    return arch.resolve(spec.model_copy(update={"num_classes": 10, "input_channels": 3}))


A, B = (SuiteCell(network=name, dataset="digits", budget=0.25) for name in ("a", "b"))
RUNS = {
    A: {
        "dense": {0: 0.9},
        "narrow": {0: 0.5, 1: 0.6},
        "random": {0: 0.7, 1: 0.7},
        "block_mix": {0: 0.65, 1: 0.69},
    },
    B: {"narrow": {0: 0.8, 1: 0.8}, "block_mix": {0: 0.7, 1: 0.7}},
}


def test_regret_is_the_distance_to_the_best_arm_that_keeps_the_budget():
    found = Results(RUNS)
    assert found.cells == [A, B]
    assert found.arms == [arm for arm in ARMS if arm in ("dense", *RUNS[A])]
    assert found.regrets("block_mix") == pytest.approx({A: 0.03, B: 0.1})
    assert found.regrets("narrow") == pytest.approx({A: 0.15, B: 0.0})
    assert found.regrets("random") == pytest.approx({A: 0.0})
    assert (found.ranks("block_mix"), found.ranks("narrow")) == ([2, 2], [3, 1])


def test_leads_are_paired_by_seed_and_meant_over_cells():
    found = Results(RUNS)
    lead = found.lead("block_mix", "narrow")
    leads = (0.12, -0.1)
    assert lead.mean == pytest.approx(sum(leads) / 2)
    assert lead.half == pytest.approx(12.706 * math.dist((leads[0],), (leads[1],)) / 2, rel=1e-3)
    assert found.lead("block_mix", "uniform") is None


def test_tables_name_all_arms_and_say_where_nothing_was_run():
    found = Results(RUNS)
    assert "| random sharing | 1 | 0.0 | 1.0 |" in summary(found)
    assert f"| random sharing | 70.0 {_PM} 0.0 | - |" in by_cell(found)


def test_positions_say_how_often_a_weight_is_used():
    networks = resolve_for(_members(), facts(TINY.dataset, None))
    found = _energies(KINDS["positions"](TINY, CELL, None))
    sizes = {layer.key: layer.size for layer in arch.layer_table(networks).layers}
    pixels = networks[0].architecture.input_size ** 2
    assert found["main", "conv.weight"] / sizes["main", "conv.weight"] == pixels
    assert found["main", "fc.weight"] / sizes["main", "fc.weight"] == 1


def _members():
    return evidence.job(TINY, CELL).members()


def _energies(found):
    return {
        name: energy
        for similarity in found.classes
        for name, energy in zip(similarity.layers, similarity.energy, strict=True)
    }


@pytest.mark.parametrize("method", ["block_mix", "soft_sharing", "superweights", "random"])
def test_what_is_left_of_a_gradient_is_what_no_change_of_the_banks_can_do(method):
    plan = npas.plan("resnet-14", budget={"fraction": 0.8}, method=method)
    model = build.model(plan, seed=0)
    for group in model.groups.values():
        wanted = [torch.randn_like(weight) for weight in group.weights()]
        before = [parameter.detach().clone() for parameter in group.parameters()]
        left = evidence._least_squares(group, wanted)
        for was, parameter in zip(before, group.parameters(), strict=True):
            assert torch.equal(was, parameter)
        length, rest = (sum(float(e.square().sum()) for e in part) for part in (wanted, left))
        assert 0 < rest < length
        first, asked = (
            sum(float(e.square().sum()) for e in group.pull_back(part)) for part in (wanted, left)
        )
        assert asked < 0.02 * first


def test_a_bank_of_as_many_templates_as_layers_leaves_nothing():
    plan = npas.plan("resnet-14", budget={"fraction": 2.0}, method="soft_sharing", templates=4)
    model = build.model(plan, seed=0)
    full = [group for group in plan.groups if group.banks[0].templates >= len(group.slots)]
    assert full
    for group in full:
        shared = model.groups[group.name]
        wanted = [torch.randn_like(weight) for weight in shared.weights()]
        left = evidence._least_squares(shared, wanted)
        length, rest = (sum(float(e.square().sum()) for e in part) for part in (wanted, left))
        assert rest < 0.01 * length


@pytest.mark.parametrize("kind", [KINDS["residual"], measured, mutated])
def test_measured_evidence_is_the_seeds_and_plans_within_the_budget(kind, monkeypatch):
    monkeypatch.setattr("benchmarks.regrouping.ROUNDS", 2)
    monkeypatch.setattr("benchmarks.regrouping.STEPS", 2)
    found = kind(TINY, CELL, None)
    assert found == kind(TINY, CELL, None)
    plan = npas.plan(evidence.job(TINY, CELL), evidence=found)
    assert plan.ledger.total <= first_plan(TINY, CELL, None).ledger.budget


def test_runner_hands_evidence_to_the_job_and_keeps_what_an_arm_trains_otherwise(
    tmp_path, monkeypatch
):
    arm = replace(ARMS["block_mix-positions"], training={"learning_rate": 0.05})
    monkeypatch.setitem(ARMS, "block_mix-positions", arm)
    place = Place(
        store=tmp_path / "runs", work=tmp_path / "work", data=None, device="cpu", threads=1
    )
    record = make(TINY, replace(CELL, arm="block_mix-positions"), place, threading.Event())
    assert record["status"] == "done"
    assert record["training"] == {"learning_rate": 0.05}
    assert [row["stage"] for row in record["curve"]] == ["train"]


def test_energies_alone_let_all_layers_agree():
    networks = resolve_for(_members(), facts(TINY.dataset, None))
    layers = arch.layer_table(networks).layers
    found = evidence_of(layers, {layer.key: 1.0 for layer in layers})
    assert {value for each in found.classes for row in each.cosine for value in row} <= {0.0, 1.0}


def test_wide_arms_spend_the_budget_of_the_network_as_it_is():
    plan = first_plan(TINY, replace(CELL, arm="random-wide"), None)
    dense = dense_size(TINY, None)
    assert plan.ledger.total <= plan.ledger.budget == int(0.4 * dense)
    assert plan.ledger.dense > 1.8 * dense
