"""Whether a release that adds an option still knows the jobs and resume files of the one before.

`kept/requests.json` and `kept/small.safetensors` were written by the first release: requests as
the store keeps them, their identities, and a resume file. They are never written anew.
"""

import json
from pathlib import Path

import pytest
from npas.errors import CheckpointError
from npas.jobs import identity
from npas.plans.evidence import Evidence
from npas.run import run
from npas.spec import ArchitectureSpec, JobSpec, TrainingSpec
from npas.train import read
from pydantic import Field

KEPT = Path(__file__).parent / "kept"
REQUESTS = json.loads((KEPT / "requests.json").read_text())
SMALL = JobSpec.model_validate_json(json.dumps(REQUESTS["small"]["stored"]))


class LaterTraining(TrainingSpec):
    """A training as a later release may have it."""

    clip_norm: float | None = None
    averaging: tuple[int, ...] = Field((3, 4), strict=False)


class LaterArchitecture(ArchitectureSpec):
    """A network as a later release may have it."""

    frozen_stem: bool = False


class LaterJob(JobSpec):
    """A job as a later release may have it, with new parts everywhere."""

    architecture: LaterArchitecture | None = None
    training: LaterTraining = Field(default_factory=LaterTraining)
    checks: dict[str, int] = Field(default_factory=dict)


def specs(kind=JobSpec):
    return {
        name: kind.model_validate_json(json.dumps(row["stored"])) for name, row in REQUESTS.items()
    }


@pytest.mark.parametrize("kind", [JobSpec, LaterJob])
def test_identity_is_that_of_the_first_release(kind):
    found = {name: identity.request_digest(spec, None) for name, spec in specs(kind).items()}
    assert found == {name: row["digest"] for name, row in REQUESTS.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"averaging": [1]}},
        {"training": {"clip_norm": 1.0}},
        {"architecture": {"frozen_stem": True}},
        {"checks": {"a": 1}},
        {"training": {"epochs": 5}},
        {"seed": 1},
    ],
)
def test_identity_changes_with_what_is_asked_for(changes):
    stored = json.loads(json.dumps(REQUESTS["small"]["stored"]))
    for part, change in changes.items():
        is_part = isinstance(change, dict) and part in stored
        stored[part] = stored[part] | change if is_part else change
    spec = LaterJob.model_validate_json(json.dumps(stored))
    assert identity.request_digest(spec, None) != REQUESTS["small"]["digest"]


def test_identity_with_evidence_is_that_of_the_first_release():
    evidence = Evidence.from_json(REQUESTS["small"]["evidence"])
    assert (
        identity.request_digest(SMALL, evidence)
        == REQUESTS["small"]["digest_with_evidence"]
        != REQUESTS["small"]["digest"]
    )


@pytest.mark.parametrize("change", [{"labels": {}}, {"priority": 100}])
def test_identity_leaves_out_what_changes_no_training(change):
    other = SMALL.model_copy(update=change)
    assert identity.request_digest(other, None) == REQUESTS["small"]["digest"]


def test_resume_file_of_the_first_release_goes_on(tmp_path, make_ear):
    ear = make_ear()
    outcome = run(
        SMALL,
        folder=tmp_path,
        resume_from=KEPT / "small.safetensors",
        device="cpu",
        listener=ear,
    )
    assert outcome.finished
    assert [epoch for _, epoch in ear.rows] == [1, 2, 3, 4]
    assert read(KEPT / "small.safetensors").facts["step"] == 9


def test_resume_file_of_another_request_is_refused(tmp_path):
    other = SMALL.model_copy(update={"seed": 1})
    with pytest.raises(CheckpointError, match="of another request"):
        run(other, folder=tmp_path, resume_from=KEPT / "small.safetensors", device="cpu")
