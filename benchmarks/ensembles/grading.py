"""How good a trained arm is: its answer, its members, all subsets, under corruptions."""

import itertools
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from npas.ensembles.predictions import Predictions
from npas.ensembles.scores import diversity, mean_disagreement, score

from benchmarks.ensembles.images import Labelled
from benchmarks.ensembles.trained import Trained

Record = dict[str, Any]


def scores_of(said: Predictions, names: Iterable[str]) -> Record:
    """Return accuracy, NLL and ECE of several members together."""
    return asdict(score(said.together(list(names)), said.labels))


def graded(trained: Trained, held_out: Predictions, test: Predictions) -> Record:
    """Return all scores on clean images.

    Each subset of the members has its cost, its scores on the test set, and its accuracy on the
    images held out, by which subsets may be chosen.
    """
    subsets = [
        {
            "members": list(names),
            "macs": trained.macs_of(names),
            "held_out_accuracy": scores_of(held_out, names)["accuracy"],
            **scores_of(test, names),
        }
        for count in range(1, len(test.names) + 1)
        for names in itertools.combinations(test.names, count)
    ]
    scores, apart = scores_of(test, trained.answer), mean_disagreement(test, trained.answer)
    return scores | {
        "members": list(test.names),
        "member_macs": dict(trained.macs),
        "macs": trained.macs_of(trained.answer),
        "disagreement": apart,
        "diversity": diversity(apart, scores["accuracy"]),
        "subsets": subsets,
        "held_out_images": len(held_out.labels),
        "test_images": len(test.labels),
    }


def graded_corrupted(
    trained: Trained, test: Predictions, all_images: Iterable[tuple[str, int, Labelled]]
) -> Record:
    """Return means over all corruptions and severities, and accuracies by corruption.

    Args:
        trained: asked for every image.
        test: what it says of the clean test images, of which the first were corrupted.
        all_images: by name and severity.
    """
    count = 0
    found: dict[str, list[Record]] = {}
    for name, _, images in all_images:
        found.setdefault(name, []).append(scores_of(trained.ask(images), trained.answer))
        count = len(images.labels)
    whole = [each for some in found.values() for each in some]
    means = {
        key: statistics.fmean(each[key] for each in whole) for key in ("accuracy", "nll", "ece")
    }
    by_name = {n: statistics.fmean(r["accuracy"] for r in some) for n, some in found.items()}
    first = {name: log_p[:count] for name, log_p in test.log_p.items()}
    clean = scores_of(Predictions(log_p=first, labels=test.labels[:count]), trained.answer)
    return means | {"by_corruption": by_name, "images": count, "clean": clean}
