"""What a report says of the weights that a training began with."""

from npas.delivery.report_part import Part


class JoinReport(Part):
    """What networks added to those whose banks they joined.

    Attributes:
        networks: that joined.
        is_frozen: whether those that were there stayed as they were.
        parameters: trainable scalars that were added.
        dense_parameters: of the new networks without sharing.
        share: parameters over those.
        checkpoint_bytes: of the file that they joined.
        file_bytes: that model.safetensors has more than that.
    """

    networks: tuple[str, ...]
    is_frozen: bool
    parameters: int
    dense_parameters: int
    share: float
    checkpoint_bytes: int
    file_bytes: int


class StartReport(Part):
    """What the training began with, where that was not chance.

    Attributes:
        checkpoint: SHA-256 of the model file.
        is_continued: whether its plan was trained on as it was; else its weights were fitted into
            the job's own plan.
        accuracy: on the test images before anything was trained, 0 to 1; F1 for cells. Of the new
            networks, where some join those of the file, which stay as they are. Where weights were
            fitted, after that: statistics of normalisations are measured anew, nothing is healed.
        source_accuracy: of the networks of the file themselves, as they are there; None where they
            were trained on as they are, or others joined them.
        aligned_blocks: blocks whose hidden units were put in another order before banks were
            fitted: 0 where none has to move, and where `torch.fx` cannot trace the networks; None
            where nothing was fitted.
        joined: None where no networks join those of the file.
    """

    checkpoint: str
    is_continued: bool
    accuracy: float
    source_accuracy: float | None = None
    aligned_blocks: int | None = None
    joined: JoinReport | None = None
