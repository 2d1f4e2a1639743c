"""Sizes of a network race at one budget: who runs, what it costs, and a job that is cut short."""

import json
from dataclasses import replace

import npas
import npas.data
import pytest
from npas.errors import CheckpointError, InvalidSpecError, PlanError
from npas.jobs import admission, memory
from npas.jobs.bracket import Bracket, Trial, affordable, rungs
from npas.jobs.candidates import entered
from npas.jobs.race_account import report, why
from npas.jobs.weighing import weigh
from npas.methods import default_contest
from npas.planning.problem import PlanningProblem
from npas.planning.verdict import MOST_RACED, Z
from npas.run import run
from npas.spec import JobSpec, MethodSpec
from npas.train import saved

MODEL = "model.safetensors"
NETWORK = "wrn-16-1"
MACS = 1_648_256
"""Of that network, for an image of 8 pixels."""


@pytest.fixture
def spec(make_spec):
    """The network that was asked for is over the limit: whoever wins is of another size."""
    return make_spec(
        architecture=NETWORK,
        budget={"fraction": 0.5},
        method={"name": "block_mix", "search": True, "search_epochs": 1},
        search={"scale": True},
        limits={"macs": MACS - 1},
        training={"epochs": 2, "batch_size": 32},
    )


def problem_of(spec):
    return PlanningProblem.of(spec, npas.data.facts(spec.dataset))


def bracket_of(spec):
    problem = problem_of(spec)
    return Bracket(problem, problem.contest, epochs=spec.training.epochs)


def test_race_of_sizes_trains_the_winner_and_says_what_it_takes(spec, make_ear, tmp_path):
    ear = make_ear()
    outcome = run(spec, folder=tmp_path, listener=ear, device="cpu", checkpoint_seconds=0)
    race = outcome.report["race"]
    assert json.loads(outcome.files["report.json"].read_text())["race"] == race
    offers = {offer.network: offer for offer in npas.offered(spec)}
    assert [each["network"] for each in race["candidates"]] == list(offers)
    assert len(offers) > 1
    assert NETWORK not in offers
    for each in race["candidates"]:
        offer = offers[each["network"]]
        told = (each["parameters"], each["dense_parameters"], each["macs"])
        assert told == (offer.parameters, offer.dense_parameters, offer.macs)
        assert each["activation_bytes"] == offer.activation_bytes
        assert each["macs"] < MACS
    leads = {place: each["posterior"] for place, each in enumerate(race["candidates"]) if place}
    clear = [place for place, each in leads.items() if each["lead"] > Z * each["error"]]
    place = max(clear, key=lambda place: leads[place]["lead"], default=race["reference"])
    winner = race["candidates"][place]["network"]
    won = offers[winner]
    assert race["network"] == winner == outcome.plan.networks[0].architecture.told
    assert {trial["candidate"] for trial in race["trials"]} == set(range(len(offers)))
    cost = f"{winner} takes {won.macs:,} multiply-adds and {won.activation_bytes:,} bytes"
    assert cost in race["why"]
    assert f"{won.macs / MACS:.2f} and " in race["why"]
    assert race["why"].endswith(f"times those of {NETWORK}, which was asked for")
    asked = npas.plan(NETWORK, budget={"fraction": 0.5}, dataset=spec.dataset)
    assert outcome.report["dense_parameters"] == asked.dense == outcome.plan.requested_dense
    assert outcome.report["budget_parameters"] == asked.ledger.budget
    assert outcome.report["parameters"] <= asked.ledger.budget
    assert ear.plans[0] == npas.plan(spec) == next(iter(offers.values())).plan
    assert [e[2].get("network") for e in ear.events if e[0] == "chosen"] == [winner]
    assert ear.fractions == sorted(ear.fractions)


def test_winner_is_what_it_would_be_alone_and_comes_back_from_its_file(spec, tmp_path):
    outcome = run(spec, folder=tmp_path / "raced", device="cpu")
    loaded = npas.load(outcome.files[MODEL])
    assert loaded.plan == outcome.plan
    (network,) = outcome.plan.networks
    request = spec.model_dump(mode="json", exclude_none=True)
    request |= {"architecture": network.architecture.model_dump(exclude_none=True)}
    request |= {"budget": outcome.plan.ledger.budget}
    del request["search"], request["limits"]
    alone = run(JobSpec.model_validate(request), folder=tmp_path / "alone", device="cpu")
    tensors = npas.load(alone.files[MODEL]).state_dict()
    assert all(tensors[name].equal(each) for name, each in loaded.state_dict().items())
    assert tensors.keys() == loaded.state_dict().keys()
    assert alone.report["accuracy"] == outcome.report["accuracy"] == loaded.extra["accuracy"]


def test_race_of_sizes_goes_on_where_it_was_cut_short(spec, make_ear, tmp_path):
    whole = run(spec, folder=tmp_path / "whole", device="cpu")
    resume, raced = None, []
    # In the first trial, between and in others, in the search, in the training.
    for steps in (2, 4, 6, 9, 3, 7):
        ear = make_ear("pause", steps)
        place = {"resume_from": resume, "device": "cpu", "checkpoint_seconds": 0}
        paused = run(spec, folder=tmp_path / "part", listener=ear, **place)
        assert not paused.finished
        raced += [data["network"] for kind, _, data in ear.events if kind == "raced"]
        resume, _ = ear.files[-1]
        assert resume in saved(tmp_path / "part" / "state")
    last = run(spec, folder=tmp_path / "last", resume_from=resume, device="cpu")
    race = whole.report["race"]
    assert raced == [race["candidates"][each["candidate"]]["network"] for each in race["trials"]]
    assert last.files[MODEL].read_bytes() == whole.files[MODEL].read_bytes()
    assert last.plan == whole.plan
    assert last.report["race"]["why"] == race["why"]
    assert last.report["race"]["candidates"] == race["candidates"]
    wider = spec.model_copy(update={"limits": None})
    with pytest.raises(CheckpointError, match="another request"):
        run(wider, folder=tmp_path / "other", resume_from=resume, device="cpu")


def test_every_resume_file_leads_to_the_same_bytes(spec, make_ear, tmp_path):
    """A kill loses what came after the last file: each of them is gone on from."""

    class Keeping(make_ear):
        def checkpoint(self, path, step):
            super().checkpoint(path, step)
            kept = tmp_path / f"{len(self.files)}.safetensors"
            kept.write_bytes(path.read_bytes())

    ear = Keeping()
    place = {"device": "cpu", "checkpoint_seconds": 0}
    whole = run(spec, folder=tmp_path / "whole", listener=ear, **place)
    assert len(ear.files) >= len(whole.report["race"]["trials"]) + 2
    for number in range(1, 1 + len(ear.files)):
        folder, kept = tmp_path / f"run {number}", tmp_path / f"{number}.safetensors"
        again = run(spec, folder=folder, resume_from=kept, device="cpu")
        assert again.files[MODEL].read_bytes() == whole.files[MODEL].read_bytes()


def test_finish_in_a_race_of_sizes_delivers_the_first(spec, make_ear, tmp_path):
    outcome = run(spec, folder=tmp_path, listener=make_ear("finish", 2), device="cpu")
    first = npas.offered(spec)[0]
    assert outcome.stopped_early
    assert outcome.plan.networks == first.plan.networks
    assert "stopped before anything was raced" in outcome.report["race"]["why"]


def test_job_trains_under_the_plan_that_it_was_accepted_with(spec, tmp_path):
    promised = admission.admit(spec)
    assert promised == npas.plan(spec)
    assert promised.networks[0].architecture.told != NETWORK
    outcome = run(spec, folder=tmp_path / "one", device="cpu", plan=promised)
    assert outcome.finished
    other = npas.plan("resnet-8", budget=promised.ledger.budget, dataset=spec.dataset)
    options = other.model_copy(update={"options": promised.options})
    with pytest.raises(PlanError, match=f"the job asks for .*{NETWORK}"):
        run(spec, folder=tmp_path / "two", device="cpu", plan=options)


def test_methods_race_on_every_size_and_what_sets_widths_once_a_depth(make_spec):
    methods = ["narrow", "dense", "uniform"]
    auto = {"name": "auto", "methods": methods}
    spec = make_spec(
        architecture="wrn-16-1", budget={"fraction": 0.6}, method=auto, search={"scale": True}
    )
    problem = problem_of(spec)
    found, infeasible = entered(problem, problem.contest)
    assert {each.method.name for each in found} == set(methods)
    assert infeasible == {}  # dense fits small sizes
    narrowed = [each for each in found if each.method.name == "narrow"]
    assert len({each.network.partition(" ")[0] for each in narrowed}) == len(narrowed) > 1
    for each in found:
        assert each.plan.ledger.total <= problem.budget
        if each.method.name == "dense":
            assert each.plan.ledger.total == each.plan.ledger.dense
        if each.method.name == "narrow":  # as wide as the budget lets it be
            assert each.plan.ledger.total > 0.98 * problem.budget
    assert len({each.plan.to_json() for each in found}) == len(found)
    assert found[0].plan == npas.plan(
        "wrn-16-1", budget={"fraction": 0.6}, method="narrow", dataset=spec.dataset
    )


@pytest.mark.parametrize(("winner", "told"), [(0, "do not share"), (1, "uniform on wrn-16-1 st")])
def test_plain_network_of_another_size_that_wins_is_told_not_to_share(make_spec, winner, told):
    spec = make_spec(
        architecture=NETWORK,
        method={"name": "auto", "methods": ["dense", "uniform"]},
        search={"scale": True},
        training={"epochs": 1},
    )
    race = bracket_of(spec)
    assert race.candidates[0].told == "uniform on wrn-16-1"
    best = next(i for i, c in enumerate(race.candidates) if c.plan.method == "dense")
    for place in race.entrants:
        lead = 0.5 if (place == best and winner == 0) else -0.5
        told_lead = {"lead": lead, "lead_error": 0.01} if place else {}
        trial = Trial(candidate=place, epochs=1, steps=5, nll=2.0, score=0.5, seconds=1.0)
        race.trials[place, 1] = replace(trial, **told_lead)
    assert why(race).startswith(told)
    if winner == 0:
        assert (
            "another size of the network is better here, and dense on wrn-16-1 (scale 0.7)"
            in why(race)
        )
    else:
        assert why(race).endswith("and is the network that was asked for")


def test_race_of_all_methods_and_sizes_has_few_candidates(make_spec):
    sizes = {"architecture": NETWORK, "budget": {"fraction": 0.5}, "search": {"scale": True}}
    spec = make_spec(method="auto", training={"epochs": 20, "batch_size": 32}, **sizes)
    race = bracket_of(spec)
    assert len(race.candidates) > 2 * MOST_RACED
    assert len(race.entrants) == MOST_RACED
    assert race.entrants[0] == 0
    assert race.candidates[0].told == f"block_mix on {NETWORK}"
    macs = [race.candidates[place].cost.macs for place in race.entrants]
    dear = sorted(macs, reverse=True)
    spent = sum(length * sum(dear[:size]) for size, length in race.rungs)
    assert spent <= 0.3 * 20 * sum(macs)
    assert bracket_of(spec).entrants == race.entrants
    (stage,) = [each for each in weigh(spec, npas.plan(spec)).stages if each.stage == "race"]
    images = spec.dataset.train_images - 30
    assert stage.steps <= 0.3 * 20 * MOST_RACED * -(-images // 32)


@pytest.mark.parametrize("epochs", [4, 5, 10, 37, 200, 1000])
@pytest.mark.parametrize(
    "macs", [[5, 5], [1, 2, 3], [1] * 7 + [20], [9, 1, 1, 1], [4, 2, 3, 1, 2, 2, 1, 4]]
)
def test_race_of_sizes_takes_at_most_its_share_of_training_all(macs, epochs):
    rules = default_contest()
    found = affordable(macs, epochs, rules)
    dear = sorted(macs, reverse=True)
    spent = sum(length * sum(dear[:size]) for size, length in found)
    if spent > rules.share * epochs * sum(macs):
        assert found == [(len(macs), 1)]
        assert epochs * rules.share < 2
    assert found[0][0] == len(macs)
    equal = affordable([3] * 8, epochs, rules)
    assert equal == rungs(8, epochs, rules) or epochs < 10


def test_report_says_what_part_of_training_all_the_race_took(spec):
    race = bracket_of(spec)
    macs = [each.cost.macs for each in race.candidates]
    trial = Trial(candidate=1, epochs=1, steps=4, nll=1.0, score=0.5, seconds=1.0)
    race.trials[1, 1] = trial
    told = report(race, "a request")
    assert told["share_of_all"] == round(macs[1] / (2 * sum(macs)), 4)


def test_estimate_counts_every_size(spec):
    plan, problem = npas.plan(spec), problem_of(spec)
    work = weigh(spec, plan)
    race = bracket_of(spec)
    (stage,) = [each for each in work.stages if each.stage == "race"]
    images = spec.dataset.train_images - 30
    assert stage.steps == race.epochs * -(-images // 32)
    macs = sum(each.cost.macs for each in race.candidates)
    assert stage.macs >= 3 * images * macs
    known = npas.data.facts(spec.dataset)
    needed = [memory.estimate(spec, offer.plan, known).total for offer in npas.offered(spec)]
    assert work.memory_bytes == max(needed)
    assert problem.limits == spec.limits


def test_weights_and_evidence_are_of_one_size(spec, make_spec, tmp_path):
    plain = make_spec(method=MethodSpec(name="uniform"), training={"epochs": 1})
    model = run(plain, folder=tmp_path / "plain", device="cpu").files[MODEL]
    started = spec.model_copy(update={"architecture": plain.architecture, "limits": None})
    with pytest.raises(InvalidSpecError, match="the weights of a start are of one") as caught:
        run(started, folder=tmp_path / "started", device="cpu", start=model)
    assert caught.value.field == "/search"
    evidence = npas.Evidence(batches=1, classes=())
    with pytest.raises(InvalidSpecError, match="evidence is of one network"):
        run(spec, folder=tmp_path / "measured", device="cpu", evidence=evidence)
