"""Recipes fill in what a request leaves out, and nothing else."""

import json
from typing import Any, cast

import pytest
from npas.jobs import identity
from npas.spec import JobSpec, TrainingSpec
from npas.spec.presets import OF_OPTIMIZER, PRESETS, filled
from pydantic import ValidationError

SHORT, LONG = (TrainingSpec.model_validate({"recipe": "best", "epochs": n}) for n in (10, 100))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_trainings_of_fields_that_are_there(name: str) -> None:
    rows = PRESETS[name]
    assert [first for first, _ in rows] == sorted({first for first, _ in rows})
    assert rows[0][0] == 1  # every training has one
    for first, fields in rows:
        made = TrainingSpec.model_validate({"recipe": name, "epochs": first})
        plain = TrainingSpec.model_validate({"epochs": first, **fields})
        assert made.model_copy(update={"recipe": None}) == plain
        assert plain != TrainingSpec(epochs=first)


def test_short_and_long_trainings_have_other_fields() -> None:
    assert LONG.model_copy(update={"epochs": 10}) != SHORT
    assert TrainingSpec(recipe="best") == TrainingSpec.model_validate(
        {"recipe": "best", "epochs": 200}
    )


def test_what_is_given_wins() -> None:
    given = {"recipe": "best", "average": None, "schedule": "step", "label_smoothing": 0.3}
    spec = TrainingSpec.model_validate(given)
    assert (spec.average, spec.schedule, spec.label_smoothing) == (None, "step", 0.3)


def test_what_a_preset_says_for_its_optimizer_is_for_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = {"optimizer": "muon", "learning_rate": 0.02, "momentum": 0.9, "mixup": 0.3}
    monkeypatch.setitem(cast(dict[str, Any], PRESETS), "best", ((1, fields),))
    found = filled({"recipe": "best", "optimizer": "adamw"}, epochs=5, optimizer="sgd")
    assert found == {"recipe": "best", "optimizer": "adamw", "mixup": 0.3}
    found = filled({"recipe": "best", "momentum": 0.5}, epochs=5, optimizer="sgd")
    assert found == {"recipe": "best", **fields, "momentum": 0.5}
    other = TrainingSpec.model_validate({"recipe": "best", "optimizer": "adamw"})
    assert (other.learning_rate, other.momentum, other.mixup) == (0.001, 0.9, 0.3)
    own = TrainingSpec.model_validate({"recipe": "best"})
    assert (own.optimizer, own.learning_rate, own.momentum) == ("muon", 0.02, 0.9)
    assert TrainingSpec.model_fields.keys() >= OF_OPTIMIZER


def test_stored_fields_are_those_that_count() -> None:
    stored = json.loads(LONG.model_dump_json())
    assert stored["average"]["kind"] == "ema"
    assert stored["epochs"] == 100
    assert TrainingSpec.model_validate_json(json.dumps(stored)) == LONG
    assert TrainingSpec.model_validate_json(LONG.model_dump_json(exclude_unset=True)) == LONG


def test_identity_is_that_of_the_fields() -> None:
    request: dict[str, Any] = {
        "architecture": "resnet-8",
        "budget": {"fraction": 0.5},
        "dataset": "digits",
    }
    digests = {
        identity.request_digest(JobSpec.model_validate(request | {"training": training}), None)
        for training in ({}, {"recipe": "best"}, {"recipe": "best", "mixup": 0.7})
    }
    assert len(digests) == 3


def test_unknown_recipes_are_refused() -> None:
    for wrong in ("worst", 3, ["best"]):
        with pytest.raises(ValidationError, match="recipe"):
            TrainingSpec.model_validate({"recipe": wrong})
    with pytest.raises(ValidationError, match="epochs"):
        TrainingSpec.model_validate({"recipe": "best", "epochs": "many"})
