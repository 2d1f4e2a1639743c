"""The networks of a job as a training of a plan begins with them, on its device."""

from collections.abc import Iterator

from torch import Tensor

from npas.data import sampled
from npas.jobs.context import RunContext
from npas.jobs.start import begun, is_joining
from npas.plans import Plan
from npas.sharing.model import SharedModel
from npas.train.recalibration import recalibrate

NORM_IMAGES, FIT_IMAGES, IMAGES_AT_ONCE = 2000, 1000, 100
"""Training images that statistics are measured with, that banks are fitted to, and that are run
at once; a batch that is not full is left out."""


def beginning(context: RunContext, plan: Plan) -> SharedModel:
    """Return the networks of a plan as a training begins with them.

    Where they have the weights of a start, as near as another plan's banks can, statistics of
    normalisations are measured anew: most of what a convolutional network loses, it loses there.

    Args:
        context: of the job.
        plan: of the networks.

    Raises:
        StartError: the start is of other networks.
    """
    batches = _batches(context, FIT_IMAGES)
    model = begun(context.start, plan, context.spec, batches).to(context.device)
    if is_fitted(context, plan):
        recalibrate(model, _batches(context, NORM_IMAGES))
    return model


def is_fitted(context: RunContext, plan: Plan) -> bool:
    """Tell whether a plan's banks are fitted to weights that another plan, or none, has made."""
    start = context.start
    return start is not None and not is_joining(context.spec) and start.model.plan != plan


def _batches(context: RunContext, num_images: int) -> Iterator[Tensor]:
    """Yield inputs: training images as they are."""
    images = context.dataset.x_train
    for chosen in sampled(images, num_images, IMAGES_AT_ONCE, seed=context.spec.seed):
        yield context.inputs(chosen.to(context.device))
