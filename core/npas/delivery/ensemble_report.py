"""What a report says of networks that answer together: `ensemble` in report.json."""

from npas.delivery.report_part import Part


class ScoresPart(Part):
    """Of answers; see `npas.ensembles.scores.Scores`. NLL in nats, the others 0 to 1."""

    accuracy: float
    nll: float
    ece: float


class SubsetReport(ScoresPart):
    """Some networks, whose mean probability is the answer.

    Attributes:
        networks: in the order of the job.
        disagreement: mean over pairs of the share of images that they take for different classes;
            None of a lone network.
        diversity: disagreement over the error of all together; None of a lone network, or of no
            error.
        parameters: trainable scalars that they read together, each counted once.
        macs: multiply-adds for one image, with weights composed; FLOPs are twice as many.
        milliseconds: for one image on the machine that graded, one network after another.
        is_on_envelope: whether no other subset is as accurate for as few multiply-adds.
    """

    networks: tuple[str, ...]
    disagreement: float | None
    diversity: float | None
    parameters: int
    macs: int
    milliseconds: float
    is_on_envelope: bool


class ReliabilityReport(Part):
    """How often answers of some confidence are right.

    Attributes:
        network: whose answers; "" of all networks together.
        images: in each of 15 equal-width bins of confidence, the first from 0.
        right: of those, how many were right.
        confidence: mean of each bin; None of an empty one.
    """

    network: str
    images: tuple[int, ...]
    right: tuple[int, ...]
    confidence: tuple[float | None, ...]


class ReachedReport(ScoresPart):
    """What a rung of the ladder comes to: multiply-adds for an image, and scores."""

    macs: float


class StopReport(ReachedReport):
    """What a stop on confidence comes to on the test images.

    Attributes:
        macs_saved: of those of the whole ladder, mean over images, 0 to 1.
        accuracy_change: against the whole ladder.
        images: how many stopped after each rung.
    """

    macs_saved: float
    accuracy_change: float
    images: tuple[int, ...]


class RungReport(Part):
    """See `npas.ensembles.ladder.Rung`."""

    network: str
    answering: tuple[str, ...]


class LadderReport(Part):
    """See `npas.ensembles.ladder.Ladder`."""

    rungs: tuple[RungReport, ...]
    threshold: float | None


class AnytimeReport(Part):
    """The way from the first answer to the best, chosen on held-out images.

    Attributes:
        held_out_images: that it was chosen on; 0: none were held out, and the networks are asked
            from cheap to dear.
        ladder: also in the model file.
        reached: on the test images, after each rung.
        stop: where images stop at the ladder's threshold; None: it has none.
    """

    held_out_images: int
    ladder: LadderReport
    reached: tuple[ReachedReport, ...]
    stop: StopReport | None


class CorruptionReport(ScoresPart):
    """All networks together on images of one corruption and severity, 1 to 5."""

    corruption: str
    severity: int


class NetworkScores(ScoresPart):
    """Of one network by itself."""

    network: str


class RobustnessReport(Part):
    """Scores on corrupted test images, "CIFAR-10-C-like": see `npas.corruptions`.

    Attributes:
        images: of the test images, the first ones, each corrupted in 75 ways.
        together: mean over corruptions and severities, of all networks together.
        networks: likewise of each by itself, in their order.
        corruptions: each by itself, of all networks together.
    """

    images: int
    together: ScoresPart
    networks: tuple[NetworkScores, ...]
    corruptions: tuple[CorruptionReport, ...]


class EnsembleReport(Part):
    """Several networks that share one bank, as one predictor.

    Attributes:
        images: of the test set, that it was graded on.
        subsets: by rising cost.
        disagreement: share of images that two networks take for different classes; a row and a
            column for each network.
        reliability: of all networks together, then of each.
        anytime: early answers, and early stops.
        robustness: None where no images were corrupted.
    """

    images: int
    subsets: tuple[SubsetReport, ...]
    disagreement: tuple[tuple[float, ...], ...]
    reliability: tuple[ReliabilityReport, ...]
    anytime: AnytimeReport
    robustness: RobustnessReport | None
