"""Splits and copies: what is made where nobody gave one, and what gives answers away."""

from collections import Counter

import npas.data
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.data import ImageOptions
from npas.data._importing import duplicates, splitting
from npas.data._importing.gathering import Gathered

COUNTS = st.lists(st.integers(10, 40), min_size=2, max_size=4)


def album(counts, *, copies=0, seed=0, splits=None):
    """Return distinct images of classes of these sizes; the first `copies` of each are one."""
    labels = np.repeat(np.arange(len(counts)), counts)
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (len(labels), 1, 4, 4), np.uint8)
    for label in range(len(counts)):
        first = int(np.argmax(labels == label))
        images[first : first + copies] = images[first]
    return Gathered(
        images=images,
        labels=labels.astype(np.int64),
        splits=splits or [None] * len(labels),
        names=[f"{index}.png" for index in range(len(labels))],
        class_names=tuple(map(str, range(len(counts)))),
        num_classes=len(counts),
        rule="",
    )


def split(gathered, **options):
    content = splitting.digests(gathered)
    options = ImageOptions.model_validate(options)
    order, told = splitting.assigned(gathered, content, options, is_ordered=False)
    return content, order, told


@settings(deadline=None, derandomize=True, max_examples=40)
@given(counts=COUNTS, copies=st.integers(0, 9), seed=st.integers(0, 5))
def test_splits_are_stratified_cover_all_and_tear_no_copies_apart(counts, copies, seed):
    gathered = album(counts, copies=copies, seed=seed)
    content, order, _ = split(gathered, split_seed=seed)
    everything = np.concatenate([order[each] for each in ("train", "validation", "test")])
    assert sorted(everything.tolist()) == list(range(len(gathered.labels)))
    assert not any(each.is_leak for each in duplicates.duplicates(gathered, content, order).copies)
    for label, count in enumerate(counts):
        held = [int((gathered.labels[order[each]] == label).sum()) for each in order]
        wanted = max(1, round(0.1 * count))
        for found in held[1:]:
            assert found <= wanted + max(0, copies - 1)
            assert found >= wanted or copies
        assert held[0] >= 1


@settings(deadline=None, derandomize=True, max_examples=40)
@given(counts=COUNTS, data=st.data())
def test_split_follows_from_pixels_and_seed_not_from_order_or_names(counts, data):
    one = album(counts)
    places = data.draw(st.permutations(range(len(one.labels))))
    other = album(counts)
    other.images, other.labels = one.images[places], one.labels[places]

    def contents(gathered):
        content, order, _ = split(gathered, split_seed=3)
        return {each: [content[index] for index in order[each]] for each in order}

    assert contents(one) == contents(other)


def test_another_seed_is_another_split():
    gathered = album([40, 40])
    tests = [tuple(split(gathered, split_seed=seed)[1]["test"].tolist()) for seed in range(3)]
    assert len(set(tests)) == 3


@pytest.mark.parametrize(
    ("given", "made", "told"),
    [
        (("train", "test"), {"validation"}, "validation: 10 % of the training images"),
        (("train", "validation"), {"test"}, "test: 10 % of the training images"),
        (("train",), {"validation", "test"}, "80/10/10"),
        (("train", "validation", "test"), set(), "all splits as given"),
    ],
)
def test_only_splits_that_are_missing_are_made(given, made, told):
    splits = [given[index % len(given)] for index in range(80)]
    gathered = album([40, 40], splits=splits)
    _, order, said = split(gathered)
    assert told in said
    for each in set(given) - {"train"}:
        assert {splits[i] for i in order[each]} == {each}
    for each in made:
        assert len(order[each]) == 2 * round(0.1 * splits.count("train") / 2)


def test_first_images_of_a_dataset_are_of_all_classes():
    gathered = album([100, 100])
    _, order, _ = split(gathered)
    first = Counter(gathered.labels[order["train"][:40]].tolist())
    assert min(first[0], first[1]) >= 8


def test_copies_across_splits_are_leaks_and_can_be_dropped(good, archive, imported, tmp_path):
    files = {f"train/{name}": content for name, content in good(20).items()}
    files |= {f"test/{name}": content for name, content in good(30).items() if "/02" in name}
    files["test/cat/leak.png"] = files["train/cat/003.png"]
    files["train/cat/twice.png"] = files["train/cat/004.png"]
    files["train/dog/torn.png"] = files["train/cat/005.png"]
    path = archive(files)

    report = imported(path)

    found = report.duplicates
    assert (found.pictures, found.leaks, found.contradictions, found.dropped) == (3, 1, 1, 0)
    assert set(found.examples[0].names) == {"test/cat/leak.png", "train/cat/003.png"}
    assert set(found.examples[0].splits) == {"test", "train"}
    assert any("in several splits" in warning for warning in report.warnings)
    assert any("pictures of several classes: 1" in warning for warning in report.warnings)

    dropped = imported(path, drop_duplicates=True)
    assert dropped.duplicates.dropped == 3
    made = npas.data.load(tmp_path / "made.npz")
    kept = {image.numpy().tobytes() for image in made.x_train}
    assert len(kept) == len(made.x_train)
    assert not kept & {image.numpy().tobytes() for image in made.x_test}
