"""Whole jobs of several networks that take turns and learn from each other; what they cost."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import npas
import npas.data
import pytest
from npas.arch.footprint import footprint
from npas.errors import InvalidSpecError
from npas.jobs import memory
from npas.jobs.admission import admit
from npas.jobs.identity import request_digest
from npas.jobs.kind import kind_of
from npas.jobs.weighing import weigh
from npas.jobs.workload import StageWork
from npas.run import run
from npas.spec import JobSpec

MakeSpec = Callable[..., JobSpec]

KINDS = {"a": "resnet-8", "b": "wrn-10-1", "c": "resnet-8"}


def several(
    make_spec: MakeSpec, ensemble: Any, names: Sequence[str] = "abc", **training: Any
) -> JobSpec:
    networks = [{"name": name, "architecture": KINDS[name]} for name in names]
    return make_spec(
        architecture=None,
        networks=networks,
        training={"epochs": 2, "batch_size": 70, "ensemble": ensemble} | training,
    )


def stage(spec: JobSpec, name: str = "train") -> StageWork:
    (found,) = [each for each in weigh(spec, npas.plan(spec)).stages if each.stage == name]
    return found


@pytest.mark.parametrize(
    "ensemble",
    [
        {"mutual": 0.5, "mutual_temperature": 3.0},
        {"networks_trained": 1, "batches": "own", "drawn": "epoch"},
    ],
    ids=str,
)
def test_job_with_a_teacher_is_the_same_when_it_is_paused(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path, ensemble: dict[str, Any]
) -> None:
    """4 steps of the teacher, 4 of the search, 4 of the training."""
    spec = several(make_spec, ensemble, "ab", distillation="dense")
    whole = run(spec, folder=tmp_path / "whole", device="cpu")
    resume: Path | None = None
    for attempt, steps in enumerate((3, 4, 3)):
        ear = make_ear("pause", steps)
        folder = tmp_path / f"part{attempt}"
        assert not run(
            spec, folder=folder, listener=ear, resume_from=resume, device="cpu"
        ).finished
        resume = ear.files[-1][0]
    last = run(spec, folder=tmp_path / "last", resume_from=resume, device="cpu")
    assert last.report["sha256"] == whole.report["sha256"]
    assert {each["name"] for each in whole.report["networks"]} == set("ab")


def test_fewer_networks_a_step_cost_their_share(make_spec: MakeSpec) -> None:
    """Two equal networks of which one takes part in each step: half of the training is saved."""
    both, half = (several(make_spec, {"networks_trained": n}, "ac") for n in (2, 1))
    whole, part = stage(both), stage(half)
    images, epochs = 135, both.training.epochs
    macs = footprint(npas.plan(half).networks[0].architecture, batch=68).macs
    assert whole.macs - part.macs == 3 * epochs * images * macs
    assert whole.operations > part.operations
    assert (whole.steps, whole) == (part.steps, stage(several(make_spec, {}, "ac")))


def test_own_batches_ask_the_teacher_once_for_each_network(make_spec: MakeSpec) -> None:
    found = [
        stage(several(make_spec, ensemble, distillation="dense")).macs
        for ensemble in ({}, {"batches": "own"})
    ]
    plain = stage(several(make_spec, {})).macs
    assert found[1] - plain == 3 * (found[0] - plain)


def test_memory_is_that_of_the_largest_that_take_part(make_spec: MakeSpec) -> None:
    def activations(ensemble: dict[str, Any]) -> int:
        spec = several(make_spec, ensemble, "abc")
        facts = npas.data.facts(spec.dataset)
        return memory.estimate(spec, npas.plan(spec), facts).activations

    one, first, two, whole = map(
        activations,
        (
            {"networks_trained": 1},
            {"networks_trained": 2, "first_always": True},
            {"networks_trained": 2},
            {},
        ),
    )
    assert one < first <= two < whole


def test_identity_and_kind_know_the_options_where_they_are_not_the_defaults(
    make_spec: MakeSpec,
) -> None:
    plain = several(make_spec, {})
    options = several(make_spec, {"mutual": 0.5})
    bare = make_spec(
        architecture=None, networks=plain.networks, training={"epochs": 2, "batch_size": 70}
    )
    plan = npas.plan(plain)
    digests = [request_digest(spec, None) for spec in (bare, plain, options)]
    kinds = [kind_of(plan, spec.training) for spec in (bare, plain, options)]
    for bare_one, plain_one, other in (digests, kinds):
        assert bare_one == plain_one != other


@pytest.mark.parametrize(
    ("names", "ensemble", "field"),
    [
        ("a", {"batches": "own"}, "batches"),
        ("ab", {"networks_trained": 3}, "networks_trained"),
        ("ab", {"batches": "own", "mutual": 0.1}, "mutual"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_planned_or_weighed(
    make_spec: MakeSpec, names: str, ensemble: dict[str, Any], field: str
) -> None:
    spec = several(make_spec, ensemble, names)
    plan = npas.plan(spec)
    for refuse in (lambda: admit(spec), lambda: weigh(spec, plan)):
        with pytest.raises(InvalidSpecError) as refused:
            refuse()
        assert refused.value.field == f"/training/ensemble/{field}"
