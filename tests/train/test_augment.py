import torch
from npas import seeds
from npas.train.augment import Augmentation
from torch import Tensor
from torch.nn import functional

NOTHING = Augmentation(crop_padding=0, flip=False, cutout=0, fill=(9, 8, 7))
IMAGES = torch.randint(1, 256, (64, 3, 6, 6), generator=seeds.generator("images")).byte()


def windows(image: Tensor, padding: int) -> list[Tensor]:
    """Return every image that a shift can give, one by one."""
    padded = functional.pad(image, (padding,) * 4)
    size = image.shape[-1]
    offsets = range(2 * padding + 1)
    return [padded[:, y : y + size, x : x + size] for y in offsets for x in offsets]


def test_augmentation_of_nothing_changes_nothing() -> None:
    assert torch.equal(NOTHING(IMAGES, seeds.generator(0)), IMAGES)


def test_crop_gives_each_image_a_shift_of_its_own() -> None:
    crop = Augmentation(crop_padding=2, flip=False, cutout=0, fill=(0, 0, 0))

    shifted = crop(IMAGES, seeds.generator(0))

    which = [
        [torch.equal(after, window) for window in windows(before, 2)].index(True)
        for before, after in zip(IMAGES, shifted, strict=True)
    ]
    assert shifted.dtype == torch.uint8
    assert len(set(which)) > 12  # of 25


def test_flip_mirrors_about_half_of_the_images() -> None:
    flip = Augmentation(crop_padding=0, flip=True, cutout=0, fill=(0, 0, 0))

    flipped = flip(IMAGES, seeds.generator(0))

    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(flipped, IMAGES, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(flipped, IMAGES, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_cutout_fills_one_square_that_may_reach_over_the_edge() -> None:
    cutout = Augmentation(crop_padding=0, flip=False, cutout=4, fill=(9, 8, 7))

    erased = cutout(IMAGES, seeds.generator(0))

    fill = torch.tensor([9, 8, 7], dtype=torch.uint8).view(3, 1, 1)
    sizes = set()
    for before, after in zip(IMAGES, erased, strict=True):
        changed = (after != before).any(dim=0)
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        height = int(rows.max() - rows.min()) + 1
        width = int(columns.max() - columns.min()) + 1
        inside = after[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert torch.equal(inside, fill.expand(3, height, width))
        sizes.add((height, width))
    assert max(sizes) == (4, 4)
    assert min(min(size) for size in sizes) == 2  # half of it over the edge


def test_the_same_place_draws_the_same() -> None:
    full = Augmentation(crop_padding=2, flip=True, cutout=3, fill=(0, 0, 0))

    first, again, other = (full(IMAGES, seeds.generator("a", place)) for place in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_erasing_fills_one_rectangle_in_about_so_many_images() -> None:
    draw = seeds.generator("large")
    images = torch.randint(100, 256, (300, 3, 20, 20), generator=draw).byte()
    erasing = Augmentation(
        crop_padding=0, flip=False, cutout=0, fill=(9, 8, 7), random_erasing=0.4
    )
    erased = erasing(images, seeds.generator(0))
    areas, ratios = [], []
    for before, after in zip(images, erased, strict=True):
        changed = (after != before).any(dim=0)
        rows, columns = changed.any(dim=1), changed.any(dim=0)
        assert torch.equal(changed, rows[:, None] & columns[None, :])
        if changed.any():
            assert after[:, changed].unique(dim=1).flatten().tolist() == [9, 8, 7]
            areas.append(float(changed.double().mean()))
            ratios.append(float(rows.sum() / columns.sum()))
    assert 90 < len(areas) < 150
    assert 0.01 < min(areas) < 0.05
    assert 0.28 < max(areas) < 0.36
    assert min(ratios) < 0.6
    assert max(ratios) > 1.6


def test_random_erasing_of_all_and_of_none() -> None:
    always = Augmentation(crop_padding=0, flip=False, cutout=0, fill=(0, 0, 0), random_erasing=1.0)
    erased = always(IMAGES, seeds.generator(0))
    assert bool((erased != IMAGES).flatten(1).any(dim=1).all())
