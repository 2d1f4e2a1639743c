"""Jobs of the first release go on as what they were, though their method's name means more now.

`kept/stacked.json` holds requests as the store kept them, `kept/stacked-*.safetensors` the resume
files of their runs; the first release wrote them, and they are never written anew.
"""

import json
from contextlib import nullcontext
from pathlib import Path

import npas
import pytest
from npas.run import run
from npas.spec import JobSpec, MethodSpec

KEPT = Path(__file__).parent / "kept"
SPECS = {
    name: JobSpec.model_validate_json(json.dumps(stored))
    for name, stored in json.loads((KEPT / "stacked.json").read_text()).items()
}


def resumed(name, folder, ear, resume_from=None):
    return run(
        SPECS[name],
        folder=folder,
        listener=ear,
        resume_from=resume_from or KEPT / f"stacked-{name}.safetensors",
        device="cpu",
    )


def recipes(plan):
    return [(group.recipe, group.settings) for group in plan.groups]


@pytest.mark.parametrize("name", SPECS)
def test_job_that_began_under_the_old_meaning_ends_under_it(name, make_ear, tmp_path):
    outcome = resumed(name, tmp_path, make_ear())
    assert outcome.finished
    assert recipes(outcome.plan) == [("stack", {"shuffled": 0})]
    assert recipes(npas.load(outcome.files["model.safetensors"]).plan) == recipes(outcome.plan)


@pytest.mark.parametrize("name", SPECS)
def test_it_does_so_after_another_pause_too(name, make_ear, tmp_path):
    ear = make_ear("pause", 1)
    assert not resumed(name, tmp_path / "one", ear).finished
    outcome = resumed(name, tmp_path / "two", make_ear(), ear.files[-1][0])
    assert outcome.finished
    assert recipes(outcome.plan) == [("stack", {"shuffled": 0})]


def test_job_that_waited_gets_the_plan_that_it_was_accepted_with(tmp_path):
    spec, hybrid = SPECS["searching"], MethodSpec(name="block_mix", search=True)
    accepted = npas.plan(spec.model_copy(update={"method": hybrid}))
    of_then = {"method": spec.method.name, "options": {}, "version": 1}
    old = accepted.model_copy(update=of_then)
    kept = run(spec, folder=tmp_path / "kept", plan=old, device="cpu")
    assert recipes(kept.plan) == [("stack", {"shuffled": 0})]
    asked = run(
        spec.model_copy(update={"method": hybrid}), folder=tmp_path / "asked", device="cpu"
    )
    model = "model.safetensors"
    assert kept.files[model].read_bytes() == asked.files[model].read_bytes()
    new = run(spec, folder=tmp_path / "new", plan=npas.plan(spec), device="cpu")
    assert all(group.settings == {} for group in new.plan.groups)


def test_options_that_do_nothing_are_told_of_once(tmp_path, make_ear):
    options = {"blocks": "stack", "allocation": "normalised", "search": False}
    method = MethodSpec(name="superweights", **options)
    spec = SPECS["searching"].model_copy(update={"method": method})
    told, resume_from = [], None
    for number in range(2):
        ear = make_ear("pause", 0)
        planned = pytest.warns(UserWarning, match="does nothing in this plan")
        with planned if resume_from is None else nullcontext():  # who goes on has a plan
            run(
                spec,
                folder=tmp_path / str(number),
                listener=ear,
                device="cpu",
                resume_from=resume_from,
            )
        told += [message for kind, message, _ in ear.events if kind == "idle_option"]
        resume_from = ear.files[-1][0]
    assert told == [
        "option allocation of superweights does nothing in this plan: the templates of a stack "
        "follow from its blocks"
    ]
