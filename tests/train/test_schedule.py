import pytest
from npas.spec import TrainingSpec
from npas.train.schedule import learning_rate


def rates(spec: TrainingSpec, per_epoch: int = 10) -> list[float]:
    steps = range(spec.epochs * per_epoch)
    return [learning_rate(spec, step, steps_per_epoch=per_epoch) for step in steps]


def test_step_schedule_is_the_papers() -> None:
    by_epoch = rates(TrainingSpec(), per_epoch=1)

    assert by_epoch[:60] == [0.1] * 60
    assert by_epoch[60:120] == pytest.approx([0.02] * 60)
    assert by_epoch[120:160] == pytest.approx([0.004] * 40)
    assert by_epoch[160:] == pytest.approx([0.0008] * 40)


def test_cosine_falls_from_the_full_rate_to_almost_zero() -> None:
    values = rates(TrainingSpec(epochs=4, schedule="cosine"))

    assert values[0] == pytest.approx(0.1)
    assert values[20] == pytest.approx(0.05)
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 0.001


def test_constant_never_changes() -> None:
    assert rates(TrainingSpec(epochs=3, schedule="constant")) == [0.1] * 30


@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_warmup_rises_in_a_line_to_the_full_rate(schedule: str) -> None:
    spec = TrainingSpec.model_validate({"epochs": 9, "schedule": schedule, "warmup_epochs": 1.5})

    values = rates(spec)

    assert values[:15] == pytest.approx([0.1 * (step + 1) / 15 for step in range(15)])
    assert values[15] == pytest.approx(0.1)


def test_warmup_longer_than_the_training_is_legal() -> None:
    values = rates(TrainingSpec(epochs=2, schedule="cosine", warmup_epochs=5))

    assert values == sorted(values)
    assert 0 < values[-1] < 0.1


@pytest.mark.parametrize(
    ("epochs", "factors"),
    [
        (1, [1]),
        (2, [1, 0.2**2]),
        (3, [1, 0.2, 0.2**3]),
        (4, [1, 0.2, 0.2**2, 0.2**3]),
    ],
)
def test_step_schedule_of_a_short_training_starts_at_the_full_rate(
    epochs: int, factors: list[float]
) -> None:
    assert rates(TrainingSpec(epochs=epochs), per_epoch=1) == pytest.approx(
        [0.1 * factor for factor in factors]
    )
    assert rates(TrainingSpec(epochs=1), per_epoch=7) == [0.1] * 7
