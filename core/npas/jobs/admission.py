"""Whether a job can be done with the data that are here, asked before anybody waits."""

from pathlib import Path

from npas import data, methods
from npas.jobs import distillation
from npas.spec import JobSpec
from npas.train import augment


def admit(spec: JobSpec, folder: Path | None = None) -> None:
    """Check a request against the data folder, without reading images or weights.

    Plans are checked by `npas.plan`, memory by `npas.jobs.memory`.

    Args:
        spec: the job.
        folder: data folder; None: the default one.

    Raises:
        UnknownNameError: no such dataset.
        DataError: the dataset, or the teacher's file, is not there or cannot be used.
        InvalidSpecError: training options that do not suit the dataset, or options of the method
            that do not suit the training.
    """
    method = methods.find(spec.method.name)
    options = methods.checked_options(method, spec.method)
    method.refine_after(options, epochs=spec.training.epochs)
    data.require(spec.dataset, folder)
    augment.check(spec.training, data.facts(spec.dataset, folder).task)
    distillation.require(spec.training, spec.dataset, folder)
