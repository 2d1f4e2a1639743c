"""What a job starts from: networks and shared models that follow from its seed alone."""

from collections.abc import Sequence

from torch import nn

from npas import arch, seeds
from npas.plans import Plan
from npas.sharing.model import SharedModel, share
from npas.spec import NetworkSpec


def networks(specs: Sequence[NetworkSpec], *, seed: int) -> dict[str, nn.Module]:
    """Return dense networks by name, each with random weights of its own.

    Args:
        specs: with resolved architectures.
        seed: of the job.
    """
    return {
        spec.name: arch.build(spec.architecture, seed=seeds.number("weights", seed, spec.name))
        for spec in specs
    }


def model(plan: Plan, *, seed: int) -> SharedModel:
    """Return the networks of a plan, untrained, their groups sharing.

    Args:
        plan: of all networks.
        seed: of the job.
    """
    return share(networks(plan.networks, seed=seed), plan, seed=seeds.number("banks", seed))
