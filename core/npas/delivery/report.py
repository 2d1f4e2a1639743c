"""What is told of a finished job: report.json, and `result` in the service."""

from npas.delivery.allocation_report import AllocationReport
from npas.delivery.ensemble_report import EnsembleReport
from npas.delivery.race_report import RaceReport
from npas.delivery.report_part import Part
from npas.delivery.start_report import StartReport
from npas.plans import Ledger


class SearchCost(Part):
    """What a search took.

    Attributes:
        epochs: that were trained to measure.
        steps: optimiser steps in them.
        steps_share: of those of search and training together, 0 to 1.
        seconds: of training and measuring.
        seconds_share: of those of search and training together, 0 to 1.
        validation_accuracy: of the last epoch, 0 to 1; None without held-out images.
    """

    epochs: int
    steps: int
    steps_share: float
    seconds: float
    seconds_share: float
    validation_accuracy: float | None


class Refinement(Part):
    """What a refinement in the midst of the training did.

    Attributes:
        epoch: after which.
        seconds: that it took.
        batches: that were measured on.
        rows_before: rows of coefficients.
        rows_after: likewise.
        seconds_share: of those of search and training together, 0 to 1.
    """

    epoch: int
    seconds: float
    batches: int
    rows_before: int
    rows_after: int
    seconds_share: float


class PlanOutline(Part):
    """A few numbers of one plan of the job.

    Attributes:
        version: 0 of the request alone; 1 to search with; 2 after the search; 3 refined.
        stage: what it was made for.
        groups: that share.
        parameters: in all, norms and biases included.
        templates: of all banks.
        rows: of coefficients, of all banks.
        moved: layers that share with others than in the plan before.
    """

    version: int
    stage: str
    groups: int
    parameters: int
    templates: int
    rows: int
    moved: int


class DistillationReport(Part):
    """The teacher: what was asked for, and what it came to.

    Attributes:
        teacher: "dense", trained in the job, "start", or "checkpoint:NAME".
        temperature: logits are divided by it.
        weight: of the teacher in the loss, 0 to 1.
        accuracy: on the test images, 0 to 1; None where there was no time for a teacher.
    """

    teacher: str
    temperature: float
    weight: float
    accuracy: float | None


class NetworkReport(Part):
    """One network of the job; accuracy: alone, on the test images; None of a lone network."""

    name: str
    architecture: str
    accuracy: float | None


class FoldedGroupReport(Part):
    """What folding made of a group; see `npas.folding.fold.FoldedGroup`."""

    name: str
    layers: int
    distinct: int
    parameters_before: int
    parameters: int
    rolled_back: bool
    least_similarity: float


class LoopReport(Part):
    """Where a loop stands; see `npas.folding.loops.LoopPlace`."""

    network: str
    module: str
    blocks: int
    steps: int


class FoldingReport(Part):
    """The folded network, a file of its own.

    Attributes:
        threshold: of similarity, for layers to become one.
        ledger: of its plan.
        parameters: in all.
        parameters_before: of the network that was folded.
        accuracy: on the test images, 0 to 1.
        accuracy_change: against the network that was folded.
        accuracy_before_recalibration: None where the fold is exact.
        accuracy_as_loops: of the same network, run as loops.
        groups: what became of each.
        loops: where they stand.
        file_bytes: of the file.
        sha256: of the file.
    """

    threshold: float
    ledger: Ledger
    parameters: int
    parameters_before: int
    accuracy: float
    accuracy_change: float
    accuracy_before_recalibration: float | None
    accuracy_as_loops: float
    groups: tuple[FoldedGroupReport, ...]
    loops: tuple[LoopReport, ...]
    file_bytes: int
    sha256: str


class ConfusedPair(Part):
    """Test images of one class that were taken for another."""

    right: str
    said: str
    images: int


class ConfusionReport(Part):
    """Which classes were taken for which, on the test images.

    Attributes:
        classes: names by label; numbers where classes have no names.
        counts: images of class (row) that were said to be of class (column); None of more than 100
            classes.
        most_confused: the pairs with the most images, at most 20.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...] | None
    most_confused: tuple[ConfusedPair, ...]


class DatasetImport(Part):
    """How images became those of the dataset.

    Attributes:
        rule: of resizing, a sentence.
        splits: where training, validation and test images come from, a sentence.
        num_skipped: images that could not be read.
        leaks: pictures that are in several splits.
        dropped: training images that were left out for being there twice.
        warnings: sentences.
    """

    rule: str
    splits: str
    num_skipped: int
    leaks: int
    dropped: int
    warnings: tuple[str, ...]


class AdjustmentReport(Part):
    """What was done otherwise than asked, because the training had failed as asked.

    Attributes:
        stage: of the job, from which on; "start": from its beginning.
        step: optimiser steps of that stage that were done before.
        micro_batches: parts in which each batch was computed.
        learning_rate_factor: of every step's learning rate.
        changes: what that changes, sentences.
    """

    stage: str
    step: int
    micro_batches: int
    learning_rate_factor: float
    changes: tuple[str, ...]


class EstimateError(Part):
    """How wrong the service's estimate of a job was; None of what was not known.

    Attributes:
        seconds: that workers held the job; None where it did not do all of its work.
        seconds_ratio: those over the estimate's.
        is_in_interval: whether they lie in the estimate's interval.
        memory_bytes: at the peak.
        memory_ratio: those over the estimate's.
        file_bytes_difference: of the model file, less the estimate's.
    """

    seconds: float | None
    seconds_ratio: float | None
    is_in_interval: bool | None
    memory_bytes: int | None
    memory_ratio: float | None
    file_bytes_difference: int | None


class CodingReport(Part):
    """The file of a budget in bytes.

    Attributes:
        budget_bytes: that was given; `file_bytes` of the report is at most that.
        expected_bits: of each weight, by the plan.
        bits: of each weight in the file; 32 where all are as they are.
        stream_bytes: of each stream of the file; none where nothing is coded.
        steps: of each tensor that is rounded; none where nothing is.
        accuracy_before_rounding: on the test images, 0 to 1, of the weights behind the rounded
            ones; None where nothing is rounded.
        why_less: why the file is smaller than 99.5 % of the budget; "" where it is not.
    """

    budget_bytes: int
    expected_bits: float
    bits: float
    stream_bytes: dict[str, int]
    steps: dict[str, float]
    accuracy_before_rounding: float | None
    why_less: str


class Report(Part):
    """What a finished job delivered and what it took.

    Attributes:
        architecture: names, joined by plus signs.
        method: of the delivered plan.
        dataset: its name.
        dataset_fingerprint: SHA-256 of images and labels.
        dense_parameters: of the networks without sharing.
        budget_parameters: what was allowed.
        parameters: of the delivered networks together, counted.
        minimum_parameters: the fewest that the method reaches.
        groups: that share.
        accuracy: on the test images, 0 to 1; F1 for cells.
        metric: what `accuracy` is: "accuracy" or "f1".
        top5: 0 to 1; None where there are not more than five classes, or for cells.
        f1: for cells.
        precision: for cells.
        recall: for cells.
        macro_f1: mean over classes of their F1, 0 to 1; not for cells.
        confusion: which classes were taken for which; not for cells.
        dataset_import: of a dataset that was imported.
        nll: negative log likelihood, nats; None where it is no number.
        ece: expected calibration error, 0 to 1.
        test_images: that it was graded on.
        test_size: their height and width, where they are tested larger than trained; else None.
        validation_accuracy: of the epoch that was delivered; None without held-out images.
        best_epoch: whose weights were delivered; 0: none was finished.
        epochs: asked for.
        epochs_done: of the training.
        stopped_early: whether the job was told to finish.
        seconds: of the whole job, pauses left out.
        search: None where there was none.
        refinement: None where there was none.
        plans: all of the job.
        distillation: None where nothing was distilled.
        race: None where the method was given.
        start: None of random weights.
        seed: of everything random.
        device: "cpu" or "cuda".
        file_bytes: of model.safetensors.
        sha256: of model.safetensors.
        versions: of npas, torch and Python.
        networks: each by itself.
        ensemble: all subsets of the networks, early answers, corrupted images; None of a lone
            network, or for cells.
        folding: None where nothing was to be folded.
        truncated: whether its time limit ended it before all epochs.
        adjustments: what was done otherwise than asked, from when on each; empty: nothing.
        estimate_error: how wrong the service's estimate was; None where there was none.
        coding: of a budget in bytes; None where it counts parameters.
        allocation: who shares with whom, what it costs, and what more budget would buy.
    """

    architecture: str
    method: str
    dataset: str
    dataset_fingerprint: str
    dense_parameters: int
    budget_parameters: int
    parameters: int
    minimum_parameters: int
    groups: int
    accuracy: float
    metric: str
    top5: float | None
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    macro_f1: float | None = None
    confusion: ConfusionReport | None = None
    dataset_import: DatasetImport | None = None
    nll: float | None
    ece: float | None
    test_images: int
    test_size: int | None = None
    validation_accuracy: float | None
    best_epoch: int
    epochs: int
    epochs_done: int
    stopped_early: bool
    seconds: float
    search: SearchCost | None
    refinement: Refinement | None
    plans: tuple[PlanOutline, ...]
    distillation: DistillationReport | None
    race: RaceReport | None
    start: StartReport | None = None
    seed: int
    device: str
    file_bytes: int
    sha256: str
    versions: dict[str, str]
    networks: tuple[NetworkReport, ...]
    ensemble: EnsembleReport | None = None
    folding: FoldingReport | None
    truncated: bool = False
    adjustments: tuple[AdjustmentReport, ...] = ()
    estimate_error: EstimateError | None = None
    coding: CodingReport | None = None
    allocation: AllocationReport | None = None
