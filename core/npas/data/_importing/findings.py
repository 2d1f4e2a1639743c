"""The report of an import: what was found among the images, and the warnings about it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from npas.data._arrays import Facts
from npas.data._importing import canonical
from npas.data._importing.album import SPLITS
from npas.data._importing.duplicates import Copies, Found
from npas.data._importing.gathering import Gathered
from npas.data._importing.notes import Notes, some_of
from npas.data._importing.report import (
    ClassCount,
    DuplicatesFound,
    ImportReport,
    SamePixels,
    SizesFound,
    SkippedFile,
)
from npas.data._importing.splitting import Order

_MOST_TOLD, _MOST_EXAMPLES, _MOST_COPIES = 1_000, 100, 20


def report_of(
    gathered: Gathered, order: Order, copies: Found, notes: Notes, *, format: str, splits: str
) -> ImportReport:
    """Return the report of images that are read and split.

    Args:
        gathered: the images.
        order: which are in each split.
        copies: what is there several times.
        notes: of the import; warnings are added.
        format: of the source.
        splits: how they came about.
    """
    names = class_names(gathered)
    counts = _counts(gathered, order, names)
    _warn_of_copies(copies, notes)
    _warn_of_absent(counts, order, notes)
    return ImportReport(
        format=format,
        facts=asdict(_facts(gathered, order)),
        fingerprint=canonical.fingerprint(gathered, order),
        class_names=names,
        counts=counts[:_MOST_TOLD],
        rule=gathered.rule,
        splits=splits,
        sizes=SizesFound(**asdict(gathered.sizes)) if gathered.sizes else None,
        modes=dict(gathered.modes),
        formats=dict(gathered.formats),
        num_skipped=len(notes.skipped),
        skipped=tuple(SkippedFile(**asdict(each)) for each in notes.skipped[:_MOST_TOLD]),
        num_ignored=len(notes.ignored),
        ignored=tuple(notes.ignored[:_MOST_EXAMPLES]),
        duplicates=_told(copies, names, spared=len(gathered.images) - _num_used(order)),
        warnings=tuple(notes.warnings),
    )


def class_names(gathered: Gathered) -> tuple[str, ...]:
    """Return the names of classes by label, their numbers where they have none."""
    return gathered.class_names or tuple(map(str, range(gathered.num_classes)))


def _num_used(order: Order) -> int:
    return sum(len(order[split]) for split in SPLITS)


def _facts(gathered: Gathered, order: Order) -> Facts:
    return Facts(
        num_classes=gathered.num_classes,
        input_channels=gathered.images.shape[1],
        input_size=gathered.images.shape[2],
        num_train=len(order["train"]),
        num_test=len(order["test"]),
        num_validation=len(order["validation"]),
    )


def _counts(gathered: Gathered, order: Order, names: Iterable[str]) -> tuple[ClassCount, ...]:
    of = {split: Counter(gathered.labels[order[split]].tolist()) for split in SPLITS}
    return tuple(
        ClassCount(name=name, **{split: of[split][label] for split in SPLITS})
        for label, name in enumerate(names)
    )


def _warn_of_absent(counts: Iterable[ClassCount], order: Order, notes: Notes) -> None:
    for split in SPLITS:
        absent = [each.name for each in counts if not getattr(each, split)]
        if absent and len(order[split]):
            notes.warnings.append(f"classes without {split} images: {some_of(absent)}")


def _warn_of_copies(found: Found, notes: Notes) -> None:
    leaks = [each for each in found.copies if each.is_leak]
    if leaks:
        notes.warnings.append(
            f"pictures that are in several splits, so that accuracy says too much: {len(leaks)} "
            f"({_some(leaks)}); drop_duplicates leaves them out of the training"
        )
    torn = [each for each in found.copies if each.is_torn]
    if torn:
        notes.warnings.append(f"pictures of several classes: {len(torn)} ({_some(torn)})")


def _some(copies: Iterable[Copies]) -> str:
    return some_of(" = ".join(each.names[:3]) for each in copies)


def _told(found: Found, names: tuple[str, ...], *, spared: int) -> DuplicatesFound:
    chosen = sorted(found.copies, key=lambda each: not each.is_leak)[:_MOST_EXAMPLES]
    return DuplicatesFound(
        pictures=len(found.copies),
        leaks=sum(each.is_leak for each in found.copies),
        contradictions=sum(each.is_torn for each in found.copies),
        dropped=spared,
        examples=tuple(
            SamePixels(
                names=each.names[:_MOST_COPIES],
                splits=each.splits[:_MOST_COPIES],
                classes=tuple(names[label] for label in each.labels[:_MOST_COPIES]),
            )
            for each in chosen
        ),
    )
