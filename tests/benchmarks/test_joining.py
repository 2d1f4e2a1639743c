"""The benchmark of a network that joins a bank: requests, one tiny run, the tables."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import npas
import npas.data
import pytest
import torch
from npas.planning.joining import joined
from npas.planning.problem import PlanningProblem
from npas.spec import ArchitectureSpec, DatasetSpec, NetworkSpec, TrainingSpec

from benchmarks.ensembles.settings import SIZES
from benchmarks.joining import STORE, report_joins, run_joins
from benchmarks.joins import making
from benchmarks.joins.arms import ARMS, METHODS, Cell, cells, dense_size, job, joining_job, share
from benchmarks.joins.making import check_unchanged, make_record, without_record
from benchmarks.joins.report import (
    StoredJoins,
    added_table,
    joining_section,
    joins_differences,
    joins_table,
    verdicts,
)
from benchmarks.joins.settings import JoinSetting, join_setting
from benchmarks.runs import Place, write
from benchmarks.stored_runs import with_defaults

CHECKPOINT = "0" * 64
PM = "\N{PLUS-MINUS SIGN}"


def _network(name: str, scale: float) -> NetworkSpec:
    architecture = ArchitectureSpec(name="wrn-10-1", input_size=8, options={"scale": scale})
    return NetworkSpec(name=name, architecture=architecture)


TINY = JoinSetting(
    name="digits-tiny",
    dataset=DatasetSpec(name="digits", train_images=64, test_images=20),
    training=TrainingSpec(
        epochs=1, batch_size=32, validation_fraction=0, keep="last", learning_rate=0.05
    ),
    pair=(_network("wide", 0.5), _network("middle", 0.4)),
    third=_network("slim", 0.25),
    fraction=0.6,
    share=0.3,
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = tmp_path / "records" / TINY.name
    return Place(store=store, work=tmp_path / "work", data=None, device="cpu", threads=1)


def test_three_from_the_start_have_what_the_pair_and_the_third_have() -> None:
    setting = join_setting("small", "cifar10")
    for method in METHODS:
        pair, together = (
            job(setting, Cell(arm=f"{kind}-{method}", seed=2), None)
            for kind in ("pair", "together")
        )
        late = joining_job(
            setting, Cell(arm=f"joined-{method}", seed=2), npas.plan(pair), CHECKPOINT, None
        )
        budgets = [each.budget.parameters for each in (pair, late, together)]
        assert budgets[0] + budgets[1] == budgets[2]
        assert (
            budgets[1] == share(setting, None) == dense_size(setting, [setting.third], None) // 10
        )
        assert pair.training == late.training == together.training == setting.training
        assert pair.dataset == late.dataset == together.dataset
        assert [*pair.networks, *late.networks] == list(together.networks)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_the_third_can_join_for_a_tenth(size: str, method: str) -> None:
    setting = join_setting(size, "cifar10")
    plan = npas.plan(job(setting, Cell(arm=f"pair-{method}", seed=0), None))
    request = joining_job(setting, Cell(arm=f"joined-{method}", seed=0), plan, CHECKPOINT, None)

    problem = PlanningProblem.of(request, npas.data.facts(setting.dataset))
    added = joined(plan, problem).ledger.total - plan.ledger.total

    assert 0.5 * share(setting, None) < added <= share(setting, None)


def test_where_the_third_needs_more_it_is_given_the_least() -> None:
    small = replace(TINY, share=0.001)
    plan = npas.plan(job(TINY, Cell(arm="pair-block_mix", seed=0), None))

    request = joining_job(small, Cell(arm="unfrozen-block_mix", seed=0), plan, CHECKPOINT, None)

    problem = PlanningProblem.of(request, npas.data.facts(small.dataset))
    assert request.budget.parameters == problem.budget
    assert joined(plan, problem).ledger.total - plan.ledger.total == problem.budget
    assert share(small, None) < problem.budget
    assert request.start is not None
    assert not request.start.frozen


def test_twice_the_epochs_are_all_that_is_otherwise() -> None:
    plan = npas.plan(job(TINY, Cell(arm="pair-block_mix", seed=0), None))
    late, longer = (
        joining_job(TINY, Cell(arm=f"{kind}-block_mix", seed=0), plan, CHECKPOINT, None)
        for kind in ("joined", "longer")
    )

    assert longer.training.epochs == 2 * TINY.training.epochs == 2 * late.training.epochs
    same = {"training": late.training}
    assert longer.model_copy(update=same) == late


def test_arms_of_the_third_alone_are_whole_and_a_share() -> None:
    setting = join_setting("small", "cifar10")
    whole, narrow = (
        job(setting, Cell(arm=f"alone-{kind}", seed=0), None) for kind in ("dense", "narrow")
    )

    third = dense_size(setting, [setting.third], None)
    assert npas.plan(whole).ledger.total == third == 44_274
    assert npas.plan(narrow).ledger.total <= third // 10


def test_a_network_joins_and_the_pair_is_trained_once(place: Place) -> None:
    stopping = threading.Event()
    late = Cell(arm="joined-block_mix", seed=0)
    stopping.set()
    assert make_record(TINY, place, late, stopping) is None
    stopping.clear()
    pair = make_record(TINY, place, late.pair, stopping)
    file = place.work / TINY.name / late.pair.name / "model.safetensors"
    written = file.stat().st_mtime_ns

    found = make_record(TINY, place, late, stopping)

    assert pair is not None
    assert found is not None
    assert file.stat().st_mtime_ns == written
    assert found == json.loads((place.store / f"{late.name}.json").read_text())
    assert list(found["alone"]) == ["wide", "middle", "slim"]
    assert found["alone"]["slim"] == found["third"]
    assert {n: found["alone"][n] for n in ("wide", "middle")} == pair["alone"]
    assert found["parameters"] == pair["parameters"] + found["added"]["parameters"]
    assert 0 < found["added"]["parameters"] <= found["share"] == int(0.3 * found["third_dense"])
    assert found["added"]["is_frozen"]
    assert pair["third"] is None
    assert without_record([late, late.pair], place.store) == []


def test_a_changed_network_is_told() -> None:
    plan = npas.plan(job(TINY, Cell(arm="pair-block_mix", seed=0), None))
    before, after = (
        npas.share({n.name: npas.build(n.architecture, seed=0) for n in plan.networks}, plan)
        for _ in range(2)
    )
    after.load_state_dict(before.state_dict())
    digits = npas.data.load(TINY.dataset)

    check_unchanged(before, after, digits)
    with torch.no_grad():
        next(after.network("middle").parameters()).mul_(1.001)

    with pytest.raises(RuntimeError, match="and middle changed"):
        check_unchanged(before, after, digits)


def _record(arm: str, seed: int, accuracy: float, **content: Any) -> dict[str, Any]:
    scores = {"accuracy": accuracy, "nll": 1 - accuracy, "ece": 0.1}
    together = None if arm.startswith("alone") else scores | {"accuracy": accuracy + 0.1}
    return {
        "arm": arm, "seed": seed, "status": "done", "share": 100, "third_dense": 1000,
        "third": scores, "together": together, "parameters": 700, "cpu_seconds": 30.0,
        "test_images": 20, "device": "cpu", "versions": {"torch": "2"}, **content,
    }  # fmt: skip


def _added(parameters: int, file_bytes: int) -> dict[str, Any]:
    share = parameters / 1000
    return {"added": {"parameters": parameters, "share": share, "file_bytes": file_bytes}}


def _stored() -> StoredJoins:
    found = [_record("together-block_mix", s, a) for s, a in enumerate((0.5, 0.6, 0.7))]
    found += [
        _record("joined-block_mix", s, a, **_added(90 + s, 400 + s))
        for s, a in enumerate((0.50, 0.59, 0.68))
    ]
    found += [_record("together-superweights", 0, 0.5)]
    found += [_record("joined-superweights", 0, 0.49, **_added(123, 500))]
    found += [_record("alone-dense", 1, 0.6)]
    short = {"arm": "alone-narrow", "seed": 0, "status": "infeasible", "needed": 140}
    return StoredJoins(
        TINY.to_json() | {"share": 0.1},
        [
            *found,
            _record("alone-narrow", 0, 0) | short,
            _record("pair-block_mix", 0, 0.5, third=None),
        ],
    )


def _rows(text: str) -> dict[str, str]:
    return {row.split(" | ")[0].strip("| "): row for row in text.splitlines()}


def test_tables_pair_by_seed_and_say_what_is_missing() -> None:
    stored = _stored()
    rows, lead = _rows(joins_table(stored)), _rows(joins_differences(stored))

    half = 4.303 * 0.1 / 3**0.5
    assert (
        f"| 3 | 60.0 {PM} {100 * half:.1f} | 0.400 {PM}" in rows["three from the start, block mix"]
    )
    assert rows["the third apart, narrower (needs 14.0 %)"].startswith(
        "| the third apart, narrower (needs 14.0 %) | 0 | - | - |"
    )
    assert "| 1 | - | - | 60.0 | 0.500 |" in rows["the two alone, block mix"]
    one = lead["the third joined, block mix, less three from the start, block mix"]
    assert f"| -1.0 {PM} 2.5 | +0.010 {PM} 0.025 | -1.0 {PM} 2.5 |" in one
    dense = lead["the third joined, block mix, less the third apart, dense"]
    assert dense.endswith("| -1.0 | +0.010 | - | - |")


def test_what_was_added_and_whether_that_is_as_wanted() -> None:
    stored = _stored()

    rows = _rows(added_table(stored))

    assert rows["the third joined, block mix"].endswith("| 92 | 9.2 % | 402 | yes |")
    assert rows["the third joined, SuperWeights"].endswith("| 12.3 % | 500 | needs 12.3 % |")
    assert [each.split(": ")[-1] for each in verdicts(stored)] == ["not met.", "met."]
    worse = [r | {"third": {"accuracy": 0.4, "nll": 1}} for r in stored.of("joined-block_mix")]
    worse += stored.of("together-block_mix")
    assert verdicts(StoredJoins(stored.setting, worse))[0].endswith("not met.")


def test_section_names_the_networks_and_the_page_gets_it(tmp_path: Path) -> None:
    stored, page, store = _stored(), tmp_path / "results.md", tmp_path / "store" / "digits-tiny"
    page.write_text("# Results\n\n<!-- joining -->\n<!-- /joining -->\n\nend\n")
    store.mkdir(parents=True)
    (store / "setting.json").write_text(json.dumps(stored.setting))
    for record in stored.records:
        name = f"{record['arm']}-{record['seed']}.json"
        (store / name).write_text(json.dumps(record))

    report_joins(store.parent, page)

    text = joining_section(stored, "digits-tiny")
    assert text in page.read_text()
    assert "wrn-10-1 x 0.25 joins wrn-10-1 x 0.5, wrn-10-1 x 0.4" in text
    assert page.read_text().endswith("<!-- /joining -->\n\nend\n")


def test_what_is_missing_is_made_pairs_first(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(_work: Any, wanted: list[Cell], _jobs: int) -> Any:
        for cell in wanted:
            record = _record(cell.arm, cell.seed, 0.5)
            write(place.store / f"{cell.name}.json", record)
            yield cell, record

    monkeypatch.setattr(making, "each_made", made)
    wanted = cells(["joined-block_mix", "pair-block_mix"], seeds=1)

    for _ in range(2):
        run_joins(TINY, wanted, place, jobs=1)

    said = capsys.readouterr().out
    assert "2 records to make of 2" in said
    assert said.index("[1/2] pair-block_mix-0") < said.index("[2/2] joined-block_mix-0")
    assert "0 records to make of 2" in said
    with pytest.raises(SystemExit, match="holds runs of another setting"):
        run_joins(replace(TINY, fraction=0.7), [], place, jobs=1)


def test_stored_records_are_of_what_their_arms_ask_for() -> None:
    for folder in STORE.iterdir() if STORE.exists() else ():
        stored = StoredJoins.read(folder)
        dataset, size = folder.name.rsplit("-", 1)
        assert with_defaults(stored.setting) == join_setting(size, dataset).to_json()
        for record in stored.records:
            assert record["arm"] in ARMS
            cell = Cell(arm=record["arm"], seed=record["seed"])
            assert (folder / f"{cell.name}.json").exists()
