"""What a job asks of its networks at the end: what sharing costs, what more budget would buy."""

from torch import Tensor

from npas.delivery.explaining import Measurable, Question
from npas.jobs.context import RunContext, StageName
from npas.jobs.record import Record
from npas.jobs.start import is_joining
from npas.planning.richer import richer
from npas.train import Trainer
from npas.train.batches import largest_batch


def question(
    context: RunContext, record: Record, trainer: Trainer, held_out: tuple[Tensor, Tensor]
) -> Question:
    """Return what the delivery is to find out of the allocation.

    Args:
        context: of the job.
        record: of the job.
        trainer: of its last stage.
        held_out: images that no training saw, and their labels; may be none.
    """
    inputs = context.graded_inputs
    work = (inputs.input_size / context.inputs.input_size) ** 2  # of an image, over a trained one
    steps = trainer.rows[-1].step / work if trainer.rows else 0.0
    facts = context.dataset.facts()
    batch = largest_batch(facts.num_train, context.spec.training, validation=facts.num_validation)

    def told(done: int, of: int) -> None:
        if record.clock.is_time_to_tell():
            context.listener.progress(0.99 + 0.01 * done / of, None)

    return Question(
        source=Measurable(
            learned=(trainer.batches.images, trainer.batches.labels),
            held_out=held_out,
            inputs=inputs,
            seed=context.spec.seed,
            batch=batch,
            at_once=max(1, int(-(-batch // context.adjustments.parts(batch)) / work)),
            allowed=context.spec.explain * steps,
            steps=steps,
            device=context.device,
            progress=told,
        ),
        before=record.revisions.trained_first,
        richer=richer(context.problem, record.evidence) if _is_planned(context, trainer) else None,
        why_not=_why_not(context, record),
    )


def _is_planned(context: RunContext, trainer: Trainer) -> bool:
    """Return whether the plan in force is what the method made to train for good."""
    return trainer.stage == StageName.TRAIN and not is_joining(context.spec)


def _why_not(context: RunContext, record: Record) -> str:
    """Return why nothing is measured, a sentence; "" where it is."""
    if not context.spec.explain:
        return "`explain` of the request is 0"
    return "the time limit was over" if record.is_truncated else ""
