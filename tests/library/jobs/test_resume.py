"""What a resume file must say, and that what it says is of this job."""

import pytest
import torch
from npas import train
from npas.errors import CheckpointError
from npas.jobs.context import StageName
from npas.jobs.resume import ResumeFile
from npas.train import State

FACTS = {
    "stage": "search",
    "request": "r",
    "dataset": "d",
    "revisions": {"plans": {"0": "{}"}, "search_seconds": 0.0, "refinement": None},
    "evidence": None,
    "search_rows": [],
    "job_seconds": 1.5,
    "teaching": {},
    "race": None,
    "rows": [],
}


@pytest.fixture
def read(tmp_path):
    def written_and_read(**changes):
        facts = {key: value for key, value in (FACTS | changes).items() if value is not ...}
        state = State(tensors={"a": torch.ones(2)}, facts=facts)
        return ResumeFile.read(train.write(state, tmp_path, 1))

    return written_and_read


def test_file_says_its_stage_and_keeps_what_others_added(read):
    found = read(later=1)
    assert found.stage is StageName.SEARCH
    assert found.job.job_seconds == 1.5
    assert found.race is None
    assert found.state.facts["later"] == 1
    assert torch.equal(found.tensors["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"job_seconds": ...}, "job_seconds: Field required"),
        ({"stage": "dreaming"}, "stage: Input should be 'race'"),
        ({"revisions": {"plans": {"0": "{}"}}}, "revisions/search_seconds"),
        (
            {"revisions": {"plans": {"1": "{}"}, "search_seconds": 0, "refinement": None}},
            "revisions/plans: .*the plan of the request is missing",
        ),
        ({"stage": "race"}, "method: Field required"),
    ],
)
def test_file_that_lacks_something_is_refused_in_words(read, changes, told):
    with pytest.raises(CheckpointError, match=f"{told}.*start the run anew"):
        read(**changes)
