"""Which networks of several take part in a step; what can be asked of how many networks."""

from fractions import Fraction

import torch

from npas import seeds
from npas.errors import InvalidSpecError
from npas.spec import EnsembleSpec, TrainingSpec


def check_ensemble(spec: TrainingSpec, networks: int) -> None:
    """Check that what is asked of several networks can be done with as many as there are.

    Args:
        spec: of the training.
        networks: that are trained together.

    Raises:
        InvalidSpecError: it cannot, or would do nothing.
    """
    asked = spec.ensemble
    for name in type(asked).model_fields if networks == 1 else ():
        if getattr(asked, name) != getattr(EnsembleSpec(), name):
            raise _refused(name, "is for several networks, and there is one: leave it out")
    if asked.mutual and asked.batches == "own":
        raise _refused(
            "mutual",
            "has networks learn from what others say of the same images: give 0, or leave batches "
            'at "same"',
        )
    if asked.networks_trained == "all":
        return
    if asked.networks_trained > networks:
        raise _refused(
            "networks_trained",
            f"is {asked.networks_trained}, and there are {networks} networks: give at most "
            f'that, or "all"',
        )
    if asked.networks_trained == 1 and asked.first_always:
        raise _refused(
            "networks_trained",
            "is 1, and the first network is in every step: the others would never be trained; "
            "give at least 2",
        )
    if asked.networks_trained == 1 and asked.mutual:
        raise _refused("mutual", "needs others to learn from: give networks_trained at least 2")


def _refused(name: str, why: str) -> InvalidSpecError:
    return InvalidSpecError(f"{name} {why}", field=f"/training/ensemble/{name}")


def num_trained(spec: EnsembleSpec, networks: int) -> int:
    """Return how many networks of so many take part in each step."""
    return networks if spec.networks_trained == "all" else min(spec.networks_trained, networks)


def chances(spec: EnsembleSpec, networks: int) -> tuple[Fraction, ...]:
    """Return for each network of so many how likely it takes part in a step."""
    count = num_trained(spec, networks)
    if not spec.first_always or count == networks:
        return (Fraction(count, networks),) * networks
    return (Fraction(1), *[Fraction(count - 1, networks - 1)] * (networks - 1))


def taking_part(
    spec: EnsembleSpec, networks: int, *, seed: int, stage: str, epoch: int, index: int
) -> tuple[int, ...]:
    """Return which networks of so many take part in a step, in their order.

    All choices of the asked size are equally likely; with `first_always`, all of those with the
    first network in them.

    Args:
        spec: what was asked for.
        networks: how many there are.
        seed: of everything random.
        stage: that the step is in.
        epoch: of the step, from 0.
        index: of the step in the epoch, from 0; where one choice is for an epoch, it has no say.
    """
    count = num_trained(spec, networks)
    if count == networks:
        return tuple(range(networks))
    place = (epoch, index) if spec.drawn == "step" else (epoch,)
    draw = seeds.generator("networks", seed, stage, *place)
    fixed = [0] if spec.first_always else []
    others = torch.randperm(networks - len(fixed), generator=draw)[: count - len(fixed)]
    return tuple(sorted([*fixed, *(others + len(fixed)).tolist()]))
