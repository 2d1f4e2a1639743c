"""Images that are tested at another size than they are trained at.

Source: Touvron et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019: random crops
show objects larger than they are when tested, so that tests at a larger size do better.
Difference: nothing is trained again at the larger size.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from npas import arch
from npas.data import Inputs
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, NetworkSpec, TrainingSpec
from npas.tasks import TaskName

_FIELD = "/training/test_size"


def graded_inputs(spec: TrainingSpec, inputs: Inputs) -> Inputs:
    """Return what turns images into what is validated and tested.

    Args:
        spec: of the training.
        inputs: what is trained on.
    """
    return inputs if spec.test_size is None else replace(inputs, input_size=spec.test_size)


def at_test_size(spec: TrainingSpec, networks: Sequence[NetworkSpec]) -> tuple[NetworkSpec, ...]:
    """Return networks as they read images when they are validated and tested.

    Args:
        spec: of the training.
        networks: with all sizes.
    """
    if spec.test_size is None:
        return tuple(networks)
    return tuple(
        each.model_copy(update={"architecture": _resized(each.architecture, spec.test_size)})
        for each in networks
    )


def check_test_size(spec: TrainingSpec, networks: Sequence[NetworkSpec], task: TaskName) -> None:
    """Check that networks can be tested at another size than they are trained at.

    Args:
        spec: of the training.
        networks: that are tested, with all sizes.
        task: of the dataset.

    Raises:
        InvalidSpecError: it is no larger size, or a network has a fixed one, or cells are asked
            for.
    """
    size = spec.test_size
    if size is None:
        return
    if task != "classes":
        raise InvalidSpecError(
            f"test_size {size} is for images as a whole, but this dataset asks for the cells of "
            "images, which have their size: leave it out",
            field=_FIELD,
        )
    for network in networks:
        trained = network.architecture.input_size
        if trained is not None and size <= trained:
            raise InvalidSpecError(
                f"test_size {size} is not larger than {trained}, the size at which "
                f"{network.name!r} is trained: give a larger one, or leave it out; input_size of "
                "the architecture makes that of the training smaller",
                field=_FIELD,
            )
        if why := _refusal(network.architecture, size):
            raise InvalidSpecError(
                f"test_size {size}: {network.architecture.name}, built for images of {trained} "
                f"pixels, does not run on others ({why}): leave it out",
                field=_FIELD,
            )


def _refusal(spec: ArchitectureSpec, size: int) -> str:
    """Return why a network that was built for one size does not run at another; "" if it does."""
    model = arch.build(spec, device="meta").to("meta").eval()
    example = torch.empty((2, *arch.example_input(spec).shape[1:2], size, size), device="meta")
    try:
        with torch.no_grad():
            found = tuple(model(example).shape)
    except (RuntimeError, AssertionError, ValueError, LookupError, ArithmeticError) as error:
        return str(error)
    wanted = (2, spec.num_classes)
    return "" if found == wanted else f"it answers in shape {found}, not {wanted}"


def _resized(spec: ArchitectureSpec, size: int) -> ArchitectureSpec:
    return spec.model_copy(update={"input_size": size})
