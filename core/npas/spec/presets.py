"""What `recipe` fills into a training where a request leaves fields out. Change it here alone."""

from collections.abc import Mapping, Sequence
from typing import Any

PRESETS: Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]] = {
    "best": (
        (
            1,
            {
                "schedule": "cosine",
                "warmup_epochs": 0.5,
                "label_smoothing": 0.1,
                "average": "ema",
            },
        ),
        (
            30,
            {
                "schedule": "cosine",
                "warmup_epochs": 2.0,
                "label_smoothing": 0.1,
                "average": "ema",
                "augment": "trivial",
                "cutmix": 1.0,
            },
        ),
    ),
}
"""By name: from so many epochs on, these fields; the last row that a training reaches counts."""

OF_OPTIMIZER = frozenset({"learning_rate", "momentum", "nesterov", "weight_decay"})
"""Fields that a preset chooses for its optimiser: not filled in for another one."""


def filled(given: Mapping[str, Any], *, epochs: int, optimizer: str) -> dict[str, Any]:
    """Return the fields of a training with those that its recipe fills in.

    Args:
        given: the fields as they were asked for; where `recipe` is no name of a preset, they stay.
        epochs: where they are not given.
        optimizer: that a preset means which names none.
    """
    name, asked = given.get("recipe"), given.get("epochs", epochs)
    if not isinstance(name, str) or name not in PRESETS or not isinstance(asked, int):
        return dict(given)
    rows = [fields for first, fields in PRESETS[name] if first <= asked]
    fields = dict(rows[-1]) if rows else {}
    chosen = fields.get("optimizer", optimizer)
    if given.get("optimizer", chosen) != chosen:
        is_apart = OF_OPTIMIZER | {"optimizer"}
        fields = {name: value for name, value in fields.items() if name not in is_apart}
    return {**fields, **given}
