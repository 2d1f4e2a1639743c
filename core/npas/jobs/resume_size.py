"""How large resume files get, known before anything is trained."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from npas import tensor_file
from npas.arch import layer_table
from npas.arch.footprint import Stored
from npas.arch.layers import EMBEDDING
from npas.folding.similarity import MOST_GROUPS, MOST_LAYERS, comparable
from npas.jobs.context import StageName
from npas.plans import Plan
from npas.recipes import matrices_in
from npas.spec import TrainingSpec
from npas.train.muon import matrix_shape
from npas.train.state import FORMAT

_ROW = {
    "stage": "teacher",
    "epoch": 1000,
    "epochs": 1000,
    "step": 100_000,
    "train_loss": 0.12345678901234567,
    "train_accuracy": 0.1234567890123456,
    "validation_accuracy": 0.1234567890123456,
    "learning_rate": 0.1234567890123456,
    "seconds": 1.2345678901234567,
}
"""An epoch as a resume file has it."""

_ROW_CHARACTERS = len(json.dumps(json.dumps(_ROW)))
_FACTS_CHARACTERS = 2000
"""All other facts: digests, names, seconds."""

_REMEMBERED = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq", "step")}
_AVERAGED = "average/"


def resume_file_bytes(
    plan: Plan,
    state: Sequence[Stored],
    training: TrainingSpec,
    *,
    is_validated: bool,
    teacher: Sequence[Stored],
    epochs: int,
    plans: int,
) -> int:
    """Return the bytes of a job's last resume file: tensors exactly, facts to some kilobytes.

    Args:
        plan: that is trained.
        state: the tensors of its shared network.
        training: of the job.
        is_validated: whether images are held out.
        teacher: the tensors of a network that is trained first, to be learned from.
        epochs: of all stages but a race.
        plans: versions of the plan that the job has at its end.
    """
    tensors = [
        *_of_trainer(plan, state, training, keeps_best=is_validated and training.keep == "best"),
        *(replace(each, name=f"{StageName.TEACH}/{each.name}") for each in teacher),
        *_history(plan, training.epochs),
    ]
    # A document is text in the facts, and the facts are text in the header: two times escaped.
    document = len(json.dumps(json.dumps(plan.to_json())))
    characters = _FACTS_CHARACTERS + epochs * _ROW_CHARACTERS + plans * document
    named = {each.name: (each.dtype, each.shape) for each in tensors}
    metadata = {"format": FORMAT, "facts": "x" * characters, "digest": "0" * 64}
    return tensor_file.num_bytes(named, metadata)


def _of_trainer(
    plan: Plan, state: Sequence[Stored], training: TrainingSpec, *, keeps_best: bool
) -> Iterator[Stored]:
    """Yield weights, what the optimiser remembers, the best weights so far, and the average."""
    yield Stored(name="sums", dtype=torch.float64, shape=(4,), is_trained=False)
    matrices = _matrices(plan, state) if training.optimizer == "muon" else set()
    statistics = _statistics(state)
    for each in state:
        yield replace(each, name=f"model/{each.name}")
        if keeps_best:
            yield replace(each, name=f"best/{each.name}")
        if training.average is not None and each.name not in statistics:
            yield replace(each, name=f"{_AVERAGED}{each.name}")
        for slot in _slots(each, training, matrices) if each.is_trained else ():
            shape = () if slot == "step" else each.shape
            name = f"optimizer/{slot}/{each.name}"
            yield Stored(name=name, dtype=each.dtype, shape=shape, is_trained=False)


def _slots(each: Stored, training: TrainingSpec, matrices: set[str]) -> Sequence[str]:
    """Return what the optimiser remembers of a tensor."""
    if training.optimizer == "sgd":
        return _REMEMBERED["sgd"] if training.momentum else ()
    return _REMEMBERED["sgd" if each.name in matrices else "adam"]


def _statistics(state: Sequence[Stored]) -> set[str]:
    """Return the names of buffers: what is not trained, but for networks that stay as they are."""
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {each.name for each in state if each.name.rpartition(".")[2] in names}


def _matrices(plan: Plan, state: Sequence[Stored]) -> set[str]:
    """Return the names of what Muon moves, see `npas.train.muon`."""
    found = set()
    for group in plan.groups:
        shapes = enumerate(matrices_in(group))
        found |= {f"groups.{group.name}.templates.{index}" for index, own in shapes if own}
    places = {network.name: index for index, network in enumerate(plan.networks)}
    table = layer_table(plan.networks, embeddings=True).layers
    tables = {
        f"networks.{places[each.network]}.{each.name}" for each in table if each.kind == EMBEDDING
    }
    for each in state:
        name = each.name.rpartition(".")[2]
        if not each.name.startswith("groups.") and matrix_shape(name, each.shape) is not None:
            found |= {each.name} - tables
    return found


def _history(plan: Plan, epochs: int) -> Iterator[Stored]:
    """Yield the similarities of layers, epoch by epoch."""
    widest = sorted(comparable(plan), key=lambda group: -len(group.slots))[:MOST_GROUPS]
    for group in widest:
        layers = min(MOST_LAYERS, len(group.slots))
        shape = (epochs + 1, layers, layers)
        name = f"similarity/{group.name}"
        yield Stored(name=name, dtype=torch.float32, shape=shape, is_trained=False)
    name = "similarity/epochs"
    yield Stored(name=name, dtype=torch.int64, shape=(epochs + 1,), is_trained=False)
