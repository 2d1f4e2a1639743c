"""How large the file of a delivered network will be, known before it is trained."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from npas import tensor_file
from npas.arch.footprint import Stored
from npas.data import Facts
from npas.delivery.checkpoint import FORMAT, METADATA_KEY
from npas.ensembles.ladder import LADDER, by_cost
from npas.plans import Plan
from npas.spec import JobSpec

_DIGEST = "0" * 64
_NUMBER = 0.1234567890123456
"""Stands for a number that is measured: most are written in so many digits."""


def shared_state(plan: Plan, networks: Sequence[Sequence[Stored]]) -> Iterator[Stored]:
    """Yield the tensors of a shared network: banks, and what its layers do not read from them.

    Args:
        plan: of the networks.
        networks: the tensors of each network without sharing, in the plan's order.
    """
    slots = {slot.key for group in plan.groups for slot in group.slots}
    for index, (network, tensors) in enumerate(zip(plan.networks, networks, strict=True)):
        for each in tensors:
            if (network.name, each.name) not in slots:
                yield _named(f"networks.{index}.{each.name}", each.shape, each)
    for group in plan.groups:
        banks = [bank for bank in group.banks if bank.rows]
        for index, bank in enumerate(group.banks):
            yield _trained(f"groups.{group.name}.templates.{index}", bank.templates, bank.size)
        for index, bank in enumerate(banks):
            yield _trained(f"groups.{group.name}.coefficients.{index}", bank.rows, bank.templates)


def model_file_bytes(plan: Plan, state: Sequence[Stored], spec: JobSpec, facts: Facts) -> int:
    """Return the bytes of model.safetensors: exact but for the digits of measured numbers.

    Those are the accuracy, and mean and deviation of each channel; each may be written in up to
    17 characters less, or 5 more. Names of classes, which images of users have, are not counted.
    Of several networks the longest ladder is counted: that all are asked, and all answer. A file
    that is rounded to a budget in bytes is as large as that.

    Args:
        plan: of the delivered network.
        state: its tensors.
        spec: the job.
        facts: of the job's dataset.
    """
    if plan.file is not None and plan.file.step > 0:
        return plan.file.bytes
    channels = [_NUMBER] * facts.input_channels
    extra: dict[str, Any] = {
        "accuracy": _NUMBER,
        "dataset": spec.dataset.name,
        "dataset_fingerprint": _DIGEST,
        "mean": channels,
        "std": channels,
        "input_size": spec.training.test_size or plan.networks[0].architecture.input_size,
        "seed": spec.seed,
    }
    names = [network.name for network in plan.networks]
    if len(names) > 1 and facts.task == "classes":
        extra[LADDER] = by_cost(dict.fromkeys(names, 0)).model_dump(mode="json") | {
            "threshold": _NUMBER
        }
    note = {
        "format": FORMAT,
        "plan": json.loads(plan.to_json()),
        "extra": extra,
        "digests": {"metadata": _DIGEST, "tensors": _DIGEST},
    }
    tensors = {each.name: (each.dtype, each.shape) for each in state}
    return tensor_file.num_bytes(tensors, {METADATA_KEY: json.dumps(note, sort_keys=True)})


def _named(name: str, shape: tuple[int, ...], like: Stored) -> Stored:
    return Stored(name=name, dtype=like.dtype, shape=shape, is_trained=like.is_trained)


def _trained(name: str, *shape: int) -> Stored:
    return Stored(name=name, dtype=torch.float32, shape=shape, is_trained=True)
