"""The learning rate of every step."""

import math

from npas.spec import TrainingSpec


def learning_rate(spec: TrainingSpec, step: int, *, steps_per_epoch: int) -> float:
    """Return the learning rate of one optimiser step.

    The rate rises in a line during the warm-up, however long: one that is longer than the training
    never ends. "step" then multiplies it by gamma at the start of each milestone's epoch, share *
    epochs rounded; "cosine" lowers it along half a wave to zero after the last step; "constant"
    leaves it.

    A training has at least one epoch at the full rate: where it is so short that a milestone
    rounds to its very start, the rate drops after the first epoch, if there is a second one.
    Milestones that fall on one epoch drop the rate together.

    Args:
        spec: what was asked for.
        step: from 0.
        steps_per_epoch: > 0.
    """
    warmup_steps = spec.warmup_epochs * steps_per_epoch
    rise = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if spec.schedule == "cosine":
        falling_steps = max(1.0, spec.epochs * steps_per_epoch - warmup_steps)
        done = min(1.0, max(0.0, step - warmup_steps) / falling_steps)
        return spec.learning_rate * rise * (1 + math.cos(math.pi * done)) / 2
    if spec.schedule == "constant":
        return spec.learning_rate * rise
    epoch = step // steps_per_epoch
    drops = sum(epoch >= max(1, round(share * spec.epochs)) for share in spec.milestones)
    return spec.learning_rate * rise * float(spec.gamma**drops)
