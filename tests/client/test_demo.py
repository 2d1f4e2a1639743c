"""The demonstration fails when a promise is broken, and its last line has the promised figures."""

import pytest
from npas.delivery.report import Report
from npas_client.answers import Job
from npas_client.demo import Outcome

FIGURES = (
    "job state architecture method dataset dense_parameters budget_parameters parameters "
    "minimum_parameters groups file_bytes accuracy loaded_accuracy dense_accuracy seconds"
)
REPORT = {
    "architecture": "wrn-16-2",
    "method": "block_mix",
    "dataset": "digits",
    "dense_parameters": 1000,
    "budget_parameters": 250,
    "parameters": 240,
    "minimum_parameters": 100,
    "groups": 3,
    "accuracy": 0.97,
}
GRADE = {"parameters": 240, "buffer_bytes": 80, "accuracy": 0.97}


def outcome(*, report=None, grade=None, dense=0.98, file_bytes=2000):
    def job(name, result):
        return Job(
            id=name, state="succeeded", is_terminal=True, result=Report.model_construct(**result)
        )

    return Outcome(
        job=job("job_1", {**REPORT, **(report or {})}),
        dense=job("job_2", {"accuracy": dense}),
        file_bytes=file_bytes,
        grade={**GRADE, **(grade or {})},
        seconds=1.23,
    )


def test_summary_has_exactly_the_promised_figures():
    assert list(outcome().summary()) == FIGURES.split()


def test_kept_promises_are_not_complained_about():
    assert outcome().broken_promises() == []
    assert outcome(file_bytes=4 * 240 + 80 + 64 * 1024).broken_promises() == []


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"report": {"parameters": 239}}, "the report says 239"),
        ({"report": {"parameters": 251}, "grade": {"parameters": 251}}, "over the budget of 250"),
        ({"file_bytes": 4 * 240 + 80 + 64 * 1024 + 1}, "66,577 bytes"),
        ({"grade": {"accuracy": 0.9701}}, "became 0.9701 when loaded"),
        ({"report": {"accuracy": 0.94}, "grade": {"accuracy": 0.94}, "dense": 0.95}, "below 0.95"),
        ({"dense": 0.991}, "below the dense 0.991"),
    ],
)
def test_broken_promises_are_named(broken, message):
    (complaint,) = outcome(**broken).broken_promises()
    assert message in complaint
