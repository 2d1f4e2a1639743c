"""Networks and the dataset they are trained on: sizes that are left open, sizes that clash."""

from collections.abc import Sequence
from typing import Protocol

from npas import arch
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.tasks import TaskName

Sizes = tuple[int, int, int]
"""num_classes, input_channels, input_size of a dataset."""


class Sized(Protocol):
    """What networks need to know of a dataset: `npas.data.Facts`, or a whole `Dataset`."""

    @property
    def sizes(self) -> Sizes:
        """Number of classes, channels, height and width in pixels."""

    @property
    def task(self) -> TaskName:
        """What is asked of an image."""


def resolve_for(networks: Sequence[NetworkSpec], dataset: Sized | None) -> tuple[NetworkSpec, ...]:
    """Give each network the dataset's sizes where its own are left open.

    Args:
        networks: as the user gave them.
        dataset: None where there is none, then the families' defaults count.

    Raises:
        UnknownNameError: no such architecture.
        InvalidSpecError: a network does another task, a size contradicts the dataset, or the
        networks cannot see the same batch.
    """
    sizes = dataset.sizes if dataset else None
    resolved = tuple(
        network.model_copy(
            update={"architecture": arch.resolve(network.architecture, sizes=sizes)}
        )
        for network in networks
    )
    if dataset is not None:
        for network in resolved:
            _check_reads(network.architecture)
            _check_task(network.architecture, dataset.sizes, dataset.task)
            _check(network.architecture, dataset.sizes)
        _check_common_size(resolved)
    return resolved


def _check(spec: ArchitectureSpec, sizes: Sizes) -> None:
    for field, given, needed in (
        ("num_classes", spec.num_classes, sizes[0]),
        ("input_channels", spec.input_channels, sizes[1]),
    ):
        if given != needed:
            raise InvalidSpecError(
                f"{field} {given} of {spec.name} contradicts the dataset, which has {needed}; "
                "leave it out",
                field=f"/architecture/{field}",
            )


def _check_reads(spec: ArchitectureSpec) -> None:
    if arch.reads_of(spec) != "images":
        raise InvalidSpecError(
            f"{spec.name} reads {arch.reads_of(spec)}, and all datasets are images: plan and "
            "share it without a dataset, and train it by hand",
            field="/architecture/name",
        )


def _check_task(spec: ArchitectureSpec, sizes: Sizes, task: TaskName) -> None:
    if arch.task_of(spec) != task:
        asked = {"classes": "an image as a whole", "cells": "each cell of it"}
        fitting = (f for f in arch.known_families().values() if arch.task_of_family(f) == task)
        raise InvalidSpecError(
            f"{spec.name} answers {asked[arch.task_of(spec)]}, the dataset asks {asked[task]}; "
            f"take a network such as {next(fitting).example}",
            field="/architecture/name",
        )
    if task == "cells" and spec.input_size != sizes[2]:
        raise InvalidSpecError(
            f"input_size {spec.input_size} of {spec.name} contradicts the dataset, whose cells "
            f"are {sizes[2]} x {sizes[2]}; leave it out",
            field="/architecture/input_size",
        )


def _check_common_size(networks: tuple[NetworkSpec, ...]) -> None:
    """All networks of a job see the same batch."""
    sizes = {network.name: network.architecture.input_size for network in networks}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InvalidSpecError(
            f"the networks of a job read one batch, but differ in input_size: {shown}; give all "
            "the same input_size",
            field="/networks",
        )
