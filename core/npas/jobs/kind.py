"""What two trainings must have in common for one to tell how fast the other will be."""

import hashlib
import json
from collections.abc import Sequence

from npas import arch
from npas.plans import Plan
from npas.spec import EnsembleSpec, NetworkSpec, TrainingSpec


def kind_of(
    plan: Plan, training: TrainingSpec, trained: Sequence[NetworkSpec] | None = None
) -> str:
    """Return a text that is the same of trainings that cost the same a step and image.

    Names for people, and a digest of the networks with their sizes, the method with its options,
    the precision, whether there is a teacher, how networks are trained together, and options that
    cost time in every step. How long it
    trains and with which budget is counted, and does not belong to it.

    Args:
        plan: of the networks.
        training: of the job.
        trained: networks of the plan that are; None: all, and so of a plan that has no others.
    """
    names = " + ".join(network.architecture.name for network in plan.networks)
    described = [
        *(network.architecture.model_dump(mode="json") for network in plan.networks),
        *(plan.method, plan.options, training.precision),
        training.distillation is not None,
    ]
    if training.ensemble != EnsembleSpec():
        described.append(training.ensemble.model_dump(mode="json"))
    if costly := _costly(training):
        described.append(costly)
    if trained is not None and len(trained) < len(plan.networks):
        described.append({"trained": [network.name for network in trained]})
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return f"{names}, {plan.method}, {training.precision}, {digest[:8]}"


def _costly(training: TrainingSpec) -> dict[str, object]:
    """Return the options that make a step dearer, those that are not left out."""
    asked: dict[str, object] = {
        "augment": training.augment,
        "average": training.average is not None,
        "optimizer": training.optimizer if training.optimizer == "muon" else "",
        "test_size": training.test_size,
    }
    return {name: value for name, value in asked.items() if value not in ("none", False, "", None)}


def family_of(plan: Plan, training: TrainingSpec) -> str:
    """Return the families of a plan's networks, and the precision."""
    names = {arch.family_name(network.architecture) for network in plan.networks}
    return f"{' + '.join(sorted(names))}, {training.precision}"
