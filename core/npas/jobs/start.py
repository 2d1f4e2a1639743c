"""What a training begins with where that is not chance: the weights of a model file."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

from npas.delivery import checkpoint
from npas.delivery.weights import is_of_weights, with_weights
from npas.errors import CheckpointError, InvalidSpecError, StartError
from npas.plans import Plan
from npas.sharing import build
from npas.sharing.inheritance import inherited
from npas.sharing.joining import with_joined
from npas.sharing.model import SharedModel
from npas.sharing.sameness import FIELD
from npas.spec import JobSpec, NetworkSpec, StartSpec, TrainingSpec

TEACHER = "start"
"""The teacher that is the network which a job starts from."""

TEACHER_FIELD = "/training/distillation/teacher"
"""The part of a request that names the teacher."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A model file that was read.

    Attributes:
        sha256: of the file.
        bytes: of the file.
        model: that it holds, on the CPU.
    """

    sha256: str
    bytes: int
    model: SharedModel

    @classmethod
    def read(cls, path: Path, networks: Sequence[NetworkSpec] = ()) -> Self:
        """Read a file: one of ours, or one of weights.

        Args:
            path: of the file.
            networks: with all sizes, whose the weights of a file without a plan are.

        Raises:
            StartError: it is missing, damaged, or of weights of other networks.
        """
        try:
            sha256, size = digest(path), path.stat().st_size
            bare = is_of_weights(path)
            model = with_weights(path, networks) if bare else checkpoint.load(path)
        except (OSError, CheckpointError) as error:
            raise unusable(error) from error
        assert isinstance(model, SharedModel)
        return cls(sha256=sha256, bytes=size, model=model)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def begun(
    start: Start | None, plan: Plan, spec: JobSpec, batches: Iterable[Tensor] = ()
) -> SharedModel:
    """Return the networks of a plan as a training begins with them.

    Where they join those of the start, and those are to stay as they are, nothing else is trained
    or run.

    Args:
        start: whose weights they have; None: random ones.
        plan: of the networks.
        spec: the job.
        batches: of inputs, where banks are fitted to what layers put out.

    Raises:
        StartError: the start is of other networks.
    """
    if start is None:
        return build.model(plan, seed=spec.seed)
    if not is_joining(spec):
        default = StartSpec.model_fields["fit"].default
        fit = default if spec.start is None else spec.start.fit
        return inherited(start.model, plan, seed=spec.seed, fit=fit, batches=batches)
    return with_joined(start.model, plan, seed=spec.seed, frozen=is_frozen(spec))


def is_joining(spec: JobSpec) -> bool:
    """Tell whether the networks of a job join those of its start."""
    return spec.start is not None and spec.start.join


def is_frozen(spec: JobSpec) -> bool:
    """Tell whether the networks that those of a job join stay as they are."""
    return spec.start is not None and spec.start.join and spec.start.frozen


def trained(spec: JobSpec, plan: Plan) -> tuple[NetworkSpec, ...]:
    """Return the networks of a job's plan that are trained: all, but for those that stay."""
    if not is_frozen(spec):
        return plan.networks
    new = [network.name for network in spec.members()]
    return tuple(network for network in plan.networks if network.name in new)


def is_by_start(training: TrainingSpec) -> bool:
    """Tell whether the networks of a job's start are its teacher."""
    return training.distillation is not None and training.distillation.teacher == TEACHER


def check_teacher(spec: JobSpec) -> None:
    """Check that a job whose teacher is its start has one, of its own networks.

    Raises:
        InvalidSpecError: it has none, or its networks join those of the start.
    """
    if not is_by_start(spec.training):
        return
    if spec.start is None:
        raise InvalidSpecError(
            "the teacher is the network that the job starts from, and it starts from none: give "
            'start too, or another teacher ("dense", "checkpoint:NAME")',
            field=TEACHER_FIELD,
        )
    if spec.start.join:
        raise InvalidSpecError(
            "the teacher is the networks that the job's join, which are others: give another "
            'teacher ("dense", "checkpoint:NAME")',
            field=TEACHER_FIELD,
        )


def check_sizes(spec: JobSpec) -> None:
    """Check that a job that searches sizes begins with random weights.

    Raises:
        InvalidSpecError: it starts from a file, whose weights are of one size.
    """
    if spec.start is not None and spec.size_limits is not None:
        raise InvalidSpecError(
            "search.scale offers networks of other sizes, and the weights of a start are of one: "
            "leave search out, or start",
            field="/search",
        )


def named(spec: JobSpec, start: Start | None) -> JobSpec:
    """Return a job that names the file it starts from.

    Raises:
        StartError: it names one, and none is given.
        StartError: it names another one.
    """
    if start is None:
        if spec.start is not None:
            raise missing()
        return spec
    if spec.start is None:
        return spec.model_copy(update={"start": StartSpec(checkpoint=start.sha256)})
    if spec.start.checkpoint != start.sha256:
        raise StartError(
            f"the job starts from {spec.start.checkpoint}, the file given is {start.sha256}: its "
            "bytes are no longer what they were, or it is another file",
            field=FIELD,
        )
    return spec


def missing() -> StartError:
    """Return the refusal of a job whose file is not given."""
    return StartError(
        "the job starts from a model file: give it too, as run(spec, start=PATH)", field=FIELD
    )


def unusable(error: Exception) -> StartError:
    """Return the refusal of a file that cannot be read."""
    return StartError(
        f"the file that the job starts from cannot be used: {error}; start from another one, or "
        "from none",
        field=FIELD,
    )
