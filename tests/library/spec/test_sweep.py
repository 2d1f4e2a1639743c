"""A sweep is the product of its lists, bounded, each job what it would be alone."""

import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from npas.spec import JobSpec
from npas.spec.sweep import SweepSpec
from npas.spec.sweep_lists import MAX_JOBS
from pydantic import ValidationError

ASKED = {"architectures": ["resnet-8"], "budgets": [{"fraction": 0.5}], "dataset": "digits"}


def lists(strategy, most):
    return st.lists(strategy, min_size=1, max_size=most, unique=True)


@given(
    architectures=lists(st.sampled_from(["resnet-8", "resnet-14", "wrn-10-1"]), 3),
    budgets=lists(st.integers(1, 10**6), 3),
    methods=lists(st.sampled_from(["ssn", "dense", "uniform"]), 3),
    seeds=lists(st.integers(0, 99), 3),
    baseline=st.booleans(),
)
def test_points_are_the_product_of_the_lists(architectures, budgets, methods, seeds, baseline):
    asked = {
        "architectures": architectures,
        "budgets": budgets,
        "methods": methods,
        "seeds": seeds,
        "dataset": {"name": "digits", "train_images": 60},
        "training": {"epochs": 3},
        "unshared": ["stem"],
        "labels": {"team": "vision"},
        "baseline": baseline,
    }
    spec = SweepSpec.model_validate(asked)
    expected = [*itertools.product(architectures, methods, budgets, seeds)]
    whole = {"fraction": 1.0}
    expected += itertools.product(architectures, ["dense"], [whole], seeds) if baseline else []
    alone = [
        JobSpec.model_validate(
            {
                "architecture": architecture,
                "method": method,
                "budget": budget,
                "seed": seed,
                **{name: asked[name] for name in ("dataset", "training", "unshared", "labels")},
            }
        )
        for architecture, method, budget, seed in expected
    ]
    points = [*spec.points()]
    jobs = [spec.job(point) for point in points]
    assert sorted(map(repr, jobs)) == sorted(map(repr, alone))
    assert [job.seed for job in jobs] == [point.seed for point in points]
    assert [p.seed for p in points] == [s for s in seeds for _ in range(len(points) // len(seeds))]
    for point, job in zip(points, jobs, strict=True):
        assert point.is_baseline == (job.method.name == "dense")


def test_jobs_of_networks_have_them_all():
    groups = [
        [{"name": name, "architecture": "resnet-8"} for name in names] for names in ("ab", "abc")
    ]
    spec = SweepSpec.model_validate({**ASKED, "architectures": None, "networks": groups})
    assert [len(spec.job(point).members()) for point in spec.points()] == [2, 2, 3, 3]


def test_method_that_is_not_named_is_that_of_a_job():
    job = JobSpec.model_validate({"architecture": "resnet-8", "budget": 1, "dataset": "digits"})
    assert SweepSpec.model_validate(ASKED).methods == (job.method,)


def test_stored_sweep_is_read_again():
    spec = SweepSpec.model_validate({**ASKED, "methods": [{"name": "ssn", "groups": 3}]})
    stored = json.dumps(spec.model_dump(mode="json", exclude_none=True))
    assert SweepSpec.model_validate_json(stored) == spec


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"budgets": [5, {"parameters": 5}]}, ("budgets",), "1 repeats 0"),
        ({"methods": ["ssn", {"name": "ssn"}]}, ("methods",), "1 repeats 0"),
        ({"seeds": [3, 1, 3]}, ("seeds",), "2 repeats 0"),
        ({"seeds": []}, ("seeds",), "at least 1 item"),
        ({"seeds": [*range(MAX_JOBS + 1)]}, ("seeds",), "at most 200 items"),
        ({"networks": [[{"name": "a", "architecture": "b"}]]}, (), "exactly one of"),
        ({"architectures": None}, (), "exactly one of"),
        ({"seeds": [*range(101)]}, (), "1 x 1 x 1 x 101 .* and 101 baselines are 202 jobs"),
        (
            {name: [*range(1, 201)] for name in ("seeds", "budgets")},
            (),
            "1 x 200 x 1 x 200 .* are 40,200 jobs",
        ),
        ({"priority": 101}, ("priority",), "less than or equal to 100"),
        ({"seed": 1}, ("seed",), "Extra inputs"),
        (
            {"architectures": None, "networks": [[{"name": "a", "architecture": "b"}] * 2]},
            ("networks", 0),
            "two networks have the same name",
        ),
    ],
)
def test_sweep_that_is_none_is_refused(changes, place, message):
    with pytest.raises(ValidationError, match=message) as caught:
        SweepSpec.model_validate({**ASKED, **changes})
    assert caught.value.errors()[0]["loc"] == place


def test_sweep_in_the_readme_is_one():
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (block,) = re.findall(r'^```json\n(\{\n    "architectures".*?)^```$', readme, re.DOTALL | re.M)
    spec = SweepSpec.model_validate_json(block)
    assert len([*spec.points()]) == 14


def test_sweep_of_as_many_jobs_as_allowed_is_taken():
    spec = SweepSpec.model_validate({**ASKED, "seeds": [*range(100)]})
    assert len([*spec.points()]) == MAX_JOBS
    SweepSpec.model_validate({**ASKED, "seeds": [*range(MAX_JOBS)], "baseline": False})
