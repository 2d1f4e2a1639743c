"""What two trainings must have in common for one to tell how fast the other will be."""

import hashlib
import json

from npas import arch
from npas.plans import Plan
from npas.spec import EnsembleSpec, TrainingSpec


def kind_of(plan: Plan, training: TrainingSpec) -> str:
    """Return a text that is the same of trainings that cost the same a step and image.

    Names for people, and a digest of the networks with their sizes, the method with its options,
    the precision, whether there is a teacher, and how networks are trained together. How long it
    trains and with which budget is counted, and does not belong to it.
    """
    names = " + ".join(network.architecture.name for network in plan.networks)
    described = [
        *(network.architecture.model_dump(mode="json") for network in plan.networks),
        *(plan.method, plan.options, training.precision),
        training.distillation is not None,
    ]
    if training.ensemble != EnsembleSpec():
        described.append(training.ensemble.model_dump(mode="json"))
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return f"{names}, {plan.method}, {training.precision}, {digest[:8]}"


def family_of(plan: Plan, training: TrainingSpec) -> str:
    """Return the families of a plan's networks, and the precision."""
    names = {arch.family_name(network.architecture) for network in plan.networks}
    return f"{' + '.join(sorted(names))}, {training.precision}"
