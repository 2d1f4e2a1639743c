import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import npas
import npas.data
import pytest
from npas import registry, train
from npas.delivery.race_report import TrialReport
from npas.errors import (
    CheckpointError,
    InfeasibleBudgetError,
    InvalidSpecError,
    NonFiniteLossError,
    OutdatedPlanError,
    UnknownNameError,
)
from npas.jobs import bracket
from npas.jobs.bracket import Trial, rungs
from npas.jobs.candidates import called, entered
from npas.jobs.clock import Clock
from npas.methods import Contest
from npas.planning.problem import PlanningProblem
from npas.planning.verdict import Z
from npas.run import run
from npas.spec import BudgetSpec, DistillationSpec, JobSpec, MethodSpec
from npas.train import saved

MakeSpec = Callable[..., JobSpec]

RULES = Contest(methods=(), eta=2, growth=3, share=0.3, held_out=0.2)
RACED = ["block_mix", "soft_sharing"]
FREE = ["dense", "narrow"]


def problem_of(spec: JobSpec) -> PlanningProblem:
    return PlanningProblem.of(spec, npas.data.facts(spec.dataset))


def contest_of(problem: PlanningProblem) -> Contest:
    contest = problem.method.contest(problem.options)
    assert contest is not None
    return contest


@pytest.fixture
def spec(make_spec: MakeSpec) -> JobSpec:
    """Two methods that make different plans of this budget, and one that it does not hold."""
    return make_spec(
        architecture="resnet-14",
        budget={"fraction": 0.7},
        method={"name": "auto", "methods": [*RACED, "dense"], "share": 0.5},
        training={"epochs": 2, "batch_size": 32, "warmup_epochs": 1},
    )


def test_rungs_go_from_many_short_trainings_to_few_long_ones() -> None:
    assert rungs(8, 200, RULES) == [(8, 7), (4, 20), (2, 60)]
    assert rungs(5, 100, RULES) == [(5, 3), (3, 10), (2, 30)]
    assert rungs(8, 10, RULES) == [(8, 1), (4, 3)]  # 0.3, 1 and 3 epochs: one round of 1
    assert rungs(3, 90, replace(RULES, eta=3)) == [(3, 27)]
    assert rungs(2, 1, RULES) == [(2, 1)]
    assert rungs(1, 200, RULES) == []


@pytest.mark.parametrize("epochs", [10, 50, 200, 1000])
@pytest.mark.parametrize("candidates", [5, 8, 12])
def test_a_race_and_the_training_after_it_cost_less_than_a_part_of_all(
    candidates: int, epochs: int
) -> None:
    raced = sum(size * length for size, length in rungs(candidates, epochs, RULES))

    assert raced < 0.3 * candidates * epochs


def test_entered_are_the_methods_that_fit_each_plan_once(
    spec: JobSpec, make_spec: MakeSpec
) -> None:
    problem = problem_of(spec)
    contest = contest_of(problem)

    found, infeasible = entered(problem, contest)
    twice, _ = entered(problem, replace(contest, methods=contest.methods * 2))

    assert [called(each.method) for each in found] == RACED
    assert [each.plan.method for each in found] == RACED
    dense = npas.plan(spec.model_copy(update={"budget": BudgetSpec(fraction=1.0)})).ledger.dense
    assert infeasible == {"dense": dense}
    assert twice == found
    whole = make_spec(budget={"fraction": 1.0}, method={"name": "auto", "methods": FREE})
    problem = problem_of(whole)
    same, _ = entered(problem, contest_of(problem))  # nothing has to be narrower then
    assert [called(each.method) for each in same] == FREE[:1]


def test_auto_races_all_methods_but_itself(make_spec: MakeSpec) -> None:
    contest = contest_of(problem_of(make_spec(method="auto")))

    assert contest.methods[0].name == "block_mix"  # the default, whatever comes before it
    names = {method.name for method in contest.methods}
    assert names == set(registry.names("npas.methods")) - {"auto", "superweights"}
    spec = make_spec(method={"name": "auto", "methods": ["superweights"]})
    named = contest_of(problem_of(spec))
    assert [method.name for method in named.methods] == ["superweights"]
    with pytest.raises(InvalidSpecError, match="does not race itself"):
        contest_of(problem_of(make_spec(method={"name": "auto", "methods": ["auto"]})))
    with pytest.raises(InvalidSpecError, match="narrow plan other networks than those asked for"):
        contest_of(problem_of(make_spec(method={"name": "auto", "methods": ["narrow"]})))
    with pytest.raises(UnknownNameError, match="unknown method 'nothing'") as caught:
        contest_of(problem_of(make_spec(method={"name": "auto", "methods": ["ssn", "nothing"]})))
    assert caught.value.field == "/method/methods/1"


def test_auto_plans_without_data_by_the_default_or_what_goes_lowest() -> None:
    least = npas.plan("wrn-16-1", method="block_mix").minimum
    minima = {
        name: npas.plan("wrn-16-1", method=name).minimum
        for name in registry.names("npas.methods")
        if name != "auto"
    }
    as_they_are = min(minima[name] for name in minima if name != "narrow")

    default = npas.plan("wrn-16-1", budget=least, method="block_mix")
    auto = npas.plan("wrn-16-1", budget=least, method="auto")
    low = npas.plan("wrn-16-1", budget=as_they_are, method="auto")

    assert auto.groups == default.groups
    assert auto.minimum == low.minimum == min(minima.values()) < as_they_are
    assert low.ledger.total == as_they_are
    assert low.networks == default.networks


def test_auto_goes_as_low_as_its_lowest_candidate_on_other_networks(make_spec: MakeSpec) -> None:
    lowest = npas.plan("wrn-16-1", method="narrow").minimum
    narrow = npas.plan("wrn-16-1", budget=lowest + 50, method="narrow")
    auto = npas.plan("wrn-16-1", budget=lowest + 50, method="auto")

    assert auto == narrow.model_copy(update={"method": "auto"})
    assert npas.plan("wrn-16-1", budget=lowest, method="auto").ledger.total == lowest
    with pytest.raises(InfeasibleBudgetError, match=f"minimum of auto, {lowest:,}"):
        npas.plan("wrn-16-1", budget=lowest - 1, method="auto")
    keepers = npas.plan("wrn-16-1", method="auto", methods=["block_mix", "ssn"])
    assert keepers.minimum == npas.plan("wrn-16-1", method="ssn").minimum
    job = make_spec(architecture="wrn-16-1", budget={"parameters": 200}, method="auto")
    problem = problem_of(job)
    assert [called(each.method) for each in entered(problem, contest_of(problem))[0]] == ["narrow"]


def test_race_is_over_the_winner_is_trained_and_the_report_says_why(
    spec: JobSpec, make_ear: Any, tmp_path: Path
) -> None:
    ear = make_ear()

    outcome = run(spec, folder=tmp_path, listener=ear, device="cpu", checkpoint_seconds=0)

    race = outcome.report["race"]
    assert json.loads(outcome.files["report.json"].read_text())["race"] == race
    assert [each["method"] for each in race["candidates"]] == RACED
    assert all(each["parameters"] <= outcome.plan.ledger.budget for each in race["candidates"])
    assert list(race["infeasible"]) == ["dense"]
    first, second = race["trials"]
    assert [RACED[trial["candidate"]] for trial in (first, second)] == RACED
    assert first["lead"] is first["lead_error"] is None  # it is what the others are compared with
    assert second["lead"] == pytest.approx(first["nll"] - second["nll"], abs=1e-5)
    assert 0 < second["lead_error"] < 1
    assert race["reference"] == 0
    reference, other = race["candidates"]
    assert reference["prior"] is reference["posterior"] is None
    assert other["posterior"]["error"] < other["prior"]["error"]
    is_clear = other["posterior"]["lead"] > Z * other["posterior"]["error"]
    winner = RACED[is_clear]
    assert race["method"] == outcome.report["method"] == outcome.plan.method == winner
    believed = f"{abs(other['posterior']['lead']):.3f} +- {other['posterior']['error']:.3f} nats"
    assert believed in race["why"]
    assert f"{second['lead']:+.3f} +- {second['lead_error']:.3f} on held-out" in race["why"]
    assert race["share_of_training"] == 1.0  # two of one epoch, of two epochs
    _check_events(ear.events, race)
    assert ear.plans[0] == npas.plan(spec)
    assert ear.plans[1].method == winner
    assert ear.fractions == sorted(ear.fractions)
    steps = [step for _, step in ear.files]
    assert steps == sorted(steps)
    alone = run(
        spec.model_copy(update={"method": MethodSpec(name=winner)}),
        folder=tmp_path / "alone",
        device="cpu",
    )
    model = "model.safetensors"
    assert alone.files[model].read_bytes() == outcome.files[model].read_bytes()


def _check_events(events: list[tuple[str, str, Any]], race: dict[str, Any]) -> None:
    told = [event for event in events if event[0] in ("raced", "chosen")]
    assert [kind for kind, _, _ in told] == ["raced", "raced", "chosen"]
    trial = race["trials"][1]
    assert told[1][2]["lead"] == trial["lead"]
    assert f"lead {trial['lead']:+.3f} +- {trial['lead_error']:.3f}" in told[1][1]
    winner = RACED.index(race["method"])
    assert told[2][2]["posterior"] == race["candidates"][winner]["posterior"]


def test_race_goes_on_where_it_was_paused(spec: JobSpec, make_ear: Any, tmp_path: Path) -> None:
    whole = run(spec, folder=tmp_path / "whole", device="cpu")
    resume: Path | None = None
    raced = []

    for steps in (2, 6, 3, 7):  # in the first trial, in the second, in the search, in the training
        ear = make_ear("pause", steps)
        paused = run(
            spec, folder=tmp_path / "part", listener=ear, resume_from=resume, device="cpu"
        )
        assert not paused.finished
        raced += [data["method"] for kind, _, data in ear.events if kind == "raced"]
        resume, _ = ear.files[-1]
        assert resume == saved(tmp_path / "part" / "state")[0]
    last = run(spec, folder=tmp_path / "last", resume_from=resume, device="cpu")

    assert raced == RACED
    model = "model.safetensors"
    assert last.files[model].read_bytes() == whole.files[model].read_bytes()
    assert timeless(last.report["race"]) == timeless(whole.report["race"])
    other = spec.model_copy(update={"seed": 1})
    with pytest.raises(CheckpointError, match="another request"):
        run(other, folder=tmp_path / "other", resume_from=resume, device="cpu")


def test_finish_in_a_race_delivers_the_best_so_far(
    spec: JobSpec, make_ear: Any, tmp_path: Path
) -> None:
    outcome = run(spec, folder=tmp_path, listener=make_ear("finish", 2), device="cpu")

    assert outcome.finished
    assert outcome.stopped_early
    assert outcome.report["race"]["why"].endswith("stopped before anything was raced")
    assert outcome.plan.method == RACED[0]


def timeless(race: dict[str, Any]) -> dict[str, Any]:
    """Return the report of a race without what tells time."""
    trials = [{**trial, "seconds": 0} for trial in race["trials"]]
    return {**race, "seconds": 0, "trials": trials}


def test_race_that_an_earlier_release_began_is_run_again(
    spec: JobSpec, make_ear: Any, tmp_path: Path
) -> None:
    """Its trainings have losses and no leads, and nothing says what they were compared with."""
    whole = run(spec, folder=tmp_path / "whole", device="cpu")
    ear = make_ear("pause", 6)  # in the second of two
    run(spec, folder=tmp_path / "part", listener=ear, device="cpu")
    state = train.read(ear.files[-1][0])
    later = {"lead", "lead_error", "prior", "posterior", "reference", "discarded"}
    facts = {name: _without(value, later) for name, value in state.facts.items()}
    old = train.write(
        train.State(tensors={}, facts={name: facts[name] for name in facts.keys() - later}),
        tmp_path / "old",
        step=ear.files[-1][1],
    )
    done = sum(trial["steps"] for trial in facts["trials"])
    assert done > 0

    ear = make_ear("pause", 2)  # at the beginning, as if nothing had been done
    folder = {"folder": tmp_path / "part", "device": "cpu"}
    run(spec, listener=ear, resume_from=old, **folder)
    resume, step = ear.files[-1]
    assert step == done
    last = run(spec, resume_from=resume, **folder)

    race = last.report["race"]
    assert race["discarded"] == done
    assert {**timeless(race), "discarded": 0} == timeless(whole.report["race"])
    model = "model.safetensors"
    assert last.files[model].read_bytes() == whole.files[model].read_bytes()


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, list):
        return [_without(each, names) for each in value]
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if name not in names}
    return value


def test_network_that_needs_no_sharing_is_left_as_it_is(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(
        budget={"fraction": 1.0},
        method={"name": "auto", "methods": ["dense"]},
        training={"epochs": 1, "batch_size": 32},
    )

    race = run(spec, folder=tmp_path, device="cpu").report["race"]

    assert race["why"].startswith("do not share: the network as it is fits the budget")
    assert race["trials"] == []


def test_progress_never_falls_though_a_teacher_is_trained_after_the_race(
    spec: JobSpec, make_ear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "is_time_to_tell", lambda _: True)  # or little is told of the race
    training = spec.training.model_copy(update={"distillation": DistillationSpec(teacher="dense")})
    ear = make_ear()

    run(
        spec.model_copy(update={"training": training}),
        folder=tmp_path,
        listener=ear,
        device="cpu",
        checkpoint_seconds=0,
    )

    assert ear.fractions == sorted(ear.fractions)


def test_accepted_race_that_no_method_fits_any_more_is_outdated(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = npas.plan(spec)
    monkeypatch.setattr(bracket, "entered", lambda *_: ([], {"block_mix": 10**9}))

    with pytest.raises(OutdatedPlanError, match="none of the methods to race fits its budget"):
        run(spec, plan=accepted, folder=tmp_path, device="cpu")


def test_trial_is_read_though_a_later_release_says_more_of_it() -> None:
    trial = Trial(candidate=0, epochs=1, steps=5, nll=None, score=None, seconds=1.0)
    report = TrialReport.model_validate({**asdict(trial), "later": 1})

    assert Trial.of(report, candidate=2) == replace(trial, candidate=2)


def test_candidates_that_diverge_lose_and_the_job_says_so(
    make_spec: MakeSpec, make_ear: Any, tmp_path: Path
) -> None:
    spec = make_spec(
        architecture="resnet-14",
        budget={"fraction": 0.7},
        method={"name": "auto", "methods": RACED},
        training={"epochs": 30, "batch_size": 32, "learning_rate": 100.0, "weight_decay": 1.0},
    )
    ear = make_ear()

    with pytest.raises(NonFiniteLossError):
        run(spec, folder=tmp_path, listener=ear, device="cpu")

    told = [message for kind, message, _ in ear.events if kind == "raced"]
    assert told == [f"{name}, epochs: 9: diverged" for name in RACED]
