"""What all arms of `benchmarks.joining` have in common: networks, images, schedule."""

from dataclasses import dataclass
from typing import Any

from npas.spec import DatasetSpec, NetworkSpec, TrainingSpec

from benchmarks.ensembles.settings import setting

PAIR, THIRD = ("deep-wide", "flat-wide"), "deep-slim"
"""Of the configuration "depth-width" of `benchmarks.ensemble`."""

SHARE = 0.1
"""What the third network may add, of its dense size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinSetting:
    """What all arms have in common.

    Attributes:
        name: folder of the stored runs.
        dataset: with its limits.
        training: the schedule, of every job.
        pair: the networks whose bank it is.
        third: the network that joins.
        fraction: the bank's budget over the pair's dense size.
        share: what the third may add, of its dense size.
    """

    name: str
    dataset: DatasetSpec
    training: TrainingSpec
    pair: tuple[NetworkSpec, ...]
    third: NetworkSpec
    fraction: float
    share: float = SHARE

    def to_json(self) -> dict[str, Any]:
        """Return everything that a run depends on but its cell."""
        return {
            "dataset": self.dataset.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "pair": [each.model_dump(mode="json") for each in self.pair],
            "third": self.third.model_dump(mode="json"),
            "fraction": self.fraction,
            "share": self.share,
        }


def join_setting(size: str, dataset: str) -> JoinSetting:
    """Return the setting of a size of `benchmarks.ensemble`: "small" or "full".

    Args:
        size: of networks, images and schedule.
        dataset: its name.
    """
    whole = setting(size, dataset, ["depth-width"])
    configuration = whole.configurations["depth-width"]
    members = {each.name: each for each in configuration.networks}
    return JoinSetting(
        name=whole.name,
        dataset=whole.dataset,
        training=whole.training,
        pair=tuple(members[name] for name in PAIR),
        third=members[THIRD],
        fraction=configuration.fraction,
    )
