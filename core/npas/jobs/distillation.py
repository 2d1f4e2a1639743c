"""Where the teacher of a distillation comes from: trained in the job itself, or a file."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from npas import arch, tensor_file
from npas.arch.matching import Sizes
from npas.data import Dataset, Facts, Inputs, default_folder
from npas.delivery import checkpoint
from npas.errors import CheckpointError, DataError, UnknownNameError
from npas.jobs.context import StageName
from npas.jobs.resume import ResumeFile
from npas.jobs.start import TEACHER_FIELD, Start, is_by_start
from npas.plans import Plan
from npas.spec import DistillationSpec, NetworkSpec, Spec, TrainingSpec
from npas.tasks import TaskName
from npas.train import Row, Trainer
from npas.train.evaluate import evaluate
from npas.train.sizes import graded_inputs
from npas.train.teacher import Teacher


class SideBySide(nn.Module):
    """Networks that share nothing, trained side by side."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.network_names = tuple(networks)

    def members(
        self, x: Tensor | Mapping[str, Tensor], names: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Return networks' logits by name, see `npas.sharing.model.SharedModel.members`."""
        return {
            name: self.networks[name](x if isinstance(x, Tensor) else x[name])
            for name in (self.network_names if names is None else names)
        }


class Teaching:
    """The teacher of one job, none if nothing is distilled.

    Attributes:
        spec: what was asked for.
        epochs: to train the teacher in this job; 0 if there is none, or if it comes ready.
        teacher: None until there is one.
    """

    def __init__(
        self,
        training: TrainingSpec,
        dataset: Dataset,
        *,
        inputs: Inputs,
        folder: Path | None,
        device: torch.device,
        start: Start | None = None,
    ) -> None:
        """Open the teacher's file, if that is where it comes from.

        Args:
            training: of the job.
            dataset: of the job.
            inputs: of the networks of the job.
            folder: data folder; None: the default one.
            device: where to put the teacher.
            start: of the job, which may be the teacher; None: there is none.

        Raises:
            DataError: the file is missing or damaged, does not fit the dataset, or its network
                cannot answer.
        """
        self.spec, self._training = training.distillation, training
        self._dataset, self._inputs, self._device = dataset, inputs, device
        self.teacher: Teacher | None = None
        self._facts: dict[str, Any] = {}
        name = _file_name(self.spec)
        self.epochs = own_epochs(training)
        if name is not None:
            self._open(name, folder or default_folder())
        elif is_by_start(training) and start is not None:
            self._facts = {"sha256": start.sha256}
            self._ready(copy.deepcopy(start.model).to(device).float(), inputs)

    def take(self, trainer: Trainer) -> None:
        """Make the model that was trained the teacher, with the weights of its best epoch."""
        best_epoch, accuracy = trainer.load_best()
        self._facts = {
            "epochs": len(trainer.rows),
            "best_epoch": best_epoch,
            "validation_accuracy": accuracy,
            "seconds": round(sum(row.seconds for row in trainer.rows), 3),
            "rows": [asdict(row) for row in trainer.rows],
        }
        self._ready(trainer.model, self._inputs)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of a teacher that was trained in this job, for a resume file."""
        if self.teacher is None or not self.epochs:
            return {}
        return {f"{StageName.TEACH}/{n}": t for n, t in self.teacher.model.state_dict().items()}

    def facts(self) -> dict[str, Any]:
        """Return the teacher's epochs, or its file's digest, as JSON for a resume file."""
        return self._facts

    def check(self, resume: ResumeFile) -> None:
        """Check that a job learned from the same file before.

        Raises:
            DataError: the file has changed since.
        """
        before = resume.job.teaching.get("sha256")
        if before != self._facts.get("sha256"):
            raise DataError(
                "the teacher's file is not what this run started with: put it back, or start "
                "the run anew",
                field=TEACHER_FIELD,
            )

    def restore(self, model: nn.Module, resume: ResumeFile) -> list[Row]:
        """Make a model the teacher, with weights from a resume file; return its epochs."""
        prefix = f"{StageName.TEACH}/"
        kept = resume.tensors.items()
        weights = {n.removeprefix(prefix): t for n, t in kept if n.startswith(prefix)}
        model.load_state_dict(tensor_file.as_state_of(model, weights))
        self._facts = dict(resume.job.teaching)
        self._ready(model, self._inputs)
        return [Row.of(row) for row in self._facts["rows"]]

    def report(self, *, images_at_once: int) -> dict[str, Any] | None:
        """Return the report's part on the teacher, graded on the test images; None without one."""
        if self.spec is None:
            return None
        found = {name: value for name, value in self._facts.items() if name != "rows"}
        graded = None
        if self.teacher is not None:
            graded = evaluate(
                self.teacher.model,
                self._dataset.x_test,
                self._dataset.y_test,
                inputs=self._graded_inputs(self.teacher),
                batch_size=images_at_once,
                device=self._device,
            ).score
        return {**self.spec.model_dump(mode="json"), **found, "accuracy": graded}

    def _graded_inputs(self, teacher: Teacher) -> Inputs:
        """Return what a teacher reads where it is graded; one of the job as the job's networks."""
        is_own = teacher.inputs == self._inputs and _file_name(self.spec) is None
        return graded_inputs(self._training, teacher.inputs) if is_own else teacher.inputs

    def _ready(self, model: nn.Module, inputs: Inputs) -> None:
        self._facts["parameters"] = checkpoint.num_parameters(model)
        self.teacher = Teacher(model=model.eval().requires_grad_(False), inputs=inputs)

    def _open(self, name: str, folder: Path) -> None:
        plan, extra = _read(name, folder)
        inputs = _check_fit(name, plan, extra, self._dataset.sizes, self._dataset.task)
        path = folder / f"{name}.safetensors"
        try:
            model = checkpoint.load(path, device=str(self._device)).float()
        except CheckpointError as error:
            raise DataError(f"teacher {name}: {error}", field=TEACHER_FIELD) from error
        self._facts = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        self._ready(model, inputs)
        self._try(name)

    def _try(self, name: str) -> None:
        """Have the teacher answer two images: only now is it known that it can."""
        assert self.teacher is not None
        images, labels = self._dataset.x_train[:2].to(self._device), self._dataset.y_train[:2]
        try:
            answers = self.teacher.log_probs(images, temperature=1.0, precision=torch.float32)
        except RuntimeError as error:
            raise _useless(name, f"cannot read the dataset's images ({error})") from error
        wanted = (len(images), self._dataset.num_classes, *labels.shape[1:])
        if answers.shape != wanted:
            raise _useless(name, f"answers in shape {tuple(answers.shape)}, not {wanted}")
        if not answers.isfinite().all():
            raise _useless(name, "gives answers that are no numbers")


def require(training: TrainingSpec, dataset: Facts, folder: Path | None = None) -> None:
    """Check that the teacher of a request is there and fits, without reading its weights.

    Args:
        training: of the request.
        dataset: of the request.
        folder: data folder; None: the default one.

    Raises:
        DataError: its file is missing or damaged, or does not fit the dataset.
    """
    name = _file_name(training.distillation)
    if name is not None:
        folder = folder or default_folder()
        _check_fit(name, *_read(name, folder), dataset.sizes, dataset.task)


def own_epochs(training: TrainingSpec) -> int:
    """Return the epochs to train a teacher in the job: 0 if there is none, or a file holds it."""
    spec = training.distillation
    is_ready = spec is None or _file_name(spec) is not None or is_by_start(training)
    return 0 if is_ready else training.epochs


def taught_by(
    training: TrainingSpec, networks: Sequence[NetworkSpec], folder: Path | None = None
) -> Sequence[NetworkSpec]:
    """Return the networks that a job learns from; none where nothing is distilled.

    Args:
        training: of the job, which `require` lets pass.
        networks: of the job, without sharing.
        folder: data folder; None: the default one.
    """
    name = _file_name(training.distillation)
    if name is not None:
        return _read(name, folder or default_folder())[0].networks
    return networks if training.distillation else ()


def _file_name(spec: DistillationSpec | None) -> str | None:
    kind, _, name = spec.teacher.partition(":") if spec else ("", "", "")
    return name if kind == "checkpoint" else None


def _read(name: str, folder: Path) -> tuple[Plan, dict[str, Any]]:
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise DataError(
            f"teacher checkpoint:{name}: put {name}.safetensors, which npas.save wrote or a job "
            "delivered, in the data folder (python -m npas.data says where that is)",
            field=TEACHER_FIELD,
        )
    try:
        plan, extra = checkpoint.read_metadata(path)
        for network in plan.networks:
            arch.family_of(network.architecture)
        return plan, extra
    except (CheckpointError, UnknownNameError) as error:
        raise DataError(f"teacher {path.name}: {error.message}", field=TEACHER_FIELD) from error


class _Reading(Spec):
    """What a file must say of the images that its networks read."""

    mean: tuple[float, ...] = Field(strict=False)
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(strict=False)
    input_size: int = Field(ge=1, le=1024)


def _check_fit(
    name: str, plan: Plan, extra: Mapping[str, Any], sizes: Sizes, task: TaskName
) -> Inputs:
    """Return the form of the teacher's inputs, after checking that its outputs fit the dataset."""
    for network in plan.networks:
        spec = network.architecture
        if arch.reads_of(spec) != "images" or arch.task_of(spec) != task:
            asked = {"classes": "images as a whole", "cells": "the cells of images"}[task]
            raise _useless(name, f"is of {spec.name}, and the dataset asks for {asked}")
        for field, given, needed in (
            ("num_classes", spec.num_classes, sizes[0]),
            ("input_channels", spec.input_channels, sizes[1]),
        ):
            if given != needed:
                raise _useless(name, f"has {field} {given}, the dataset has {needed}")
    try:
        said = _Reading(**{key: extra[key] for key in _Reading.model_fields if key in extra})
    except ValidationError:
        said = None
    if said is None or not len(said.mean) == len(said.std) == sizes[1]:
        raise DataError(
            f"teacher checkpoint:{name} does not say how its images were normalised: save it with "
            f'extra={{"mean": [...], "std": [...], "input_size": ...}}, {sizes[1]} numbers '
            "in each list, those of std above 0",
            field=TEACHER_FIELD,
        )
    return Inputs(mean=said.mean, std=said.std, input_size=said.input_size)


def _useless(name: str, reason: str) -> DataError:
    return DataError(
        f"teacher checkpoint:{name} {reason}; give a teacher that was trained on the same kind of "
        "data",
        field=TEACHER_FIELD,
    )
