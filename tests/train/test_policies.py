"""Operations on whole batches against torchvision's own, image by image."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from npas import registry, seeds
from npas.errors import InvalidSpecError, MissingPackageError
from npas.spec import TrainingSpec
from npas.train import augment
from npas.train.policies import BINS, OPERATIONS, RAND, TRIVIAL, Policy
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

FILL = (9, 8, 7)
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "shear_x": lambda x, a, p: affine(x, shear=[math.degrees(math.atan(a * p.shear)), 0.0]),
    "shear_y": lambda x, a, p: affine(x, shear=[0.0, math.degrees(math.atan(a * p.shear))]),
    "translate_x": lambda x, a, p: affine(x, translate=[int(a * moved(x, p)), 0]),
    "translate_y": lambda x, a, p: affine(x, translate=[0, int(a * moved(x, p))]),
    "rotate": lambda x, a, p: vision.rotate(x, a * p.degrees, fill=fill_of(x)),
    "brightness": lambda x, a, p: vision.adjust_brightness(x, 1 + a * p.blend),
    "color": lambda x, a, p: vision.adjust_saturation(x, 1 + a * p.blend),
    "contrast": lambda x, a, p: vision.adjust_contrast(x, 1 + a * p.blend),
    "sharpness": lambda x, a, p: vision.adjust_sharpness(x, 1 + a * p.blend),
    "posterize": lambda x, a, p: vision.posterize(x, round(8 - a * p.bits)),
    "solarize": lambda x, a, _: vision.solarize(x, 255 * (1 - a)),
    "autocontrast": lambda x, _a, _p: vision.autocontrast(x),
    "equalize": lambda x, _a, _p: vision.equalize(x),
    "identity": lambda x, _a, _p: x,
}
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


def fill_of(image: Tensor) -> list[int]:
    return list(FILL[: len(image)])


def moved(image: Tensor, policy: Policy) -> float:
    return min(policy.shift * image.shape[-1], policy.shift_pixels)


def affine(image: Tensor, **changes: Any) -> Tensor:
    is_sheared = "shear" in changes
    plain: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    options = plain | changes | ({"center": [0, 0]} if is_sheared else {})
    return vision.affine(image, **options, fill=fill_of(image))


def images(channels: int, side: int = 16, count: int = 12) -> Tensor:
    draw = seeds.generator("images", channels, side)
    smooth = torch.randint(256, (count, channels, side // 2, side // 2), generator=draw).float()
    return torch.nn.functional.interpolate(smooth, scale_factor=2, mode="bilinear").byte()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", [TRIVIAL, RAND], ids=["trivial", "rand"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_torchvisions_for_each_image(
    name: str, policy: Policy, channels: int
) -> None:
    batch, operation = images(channels), OPERATIONS[name]
    bins = torch.arange(0, BINS - 1, 2.5)[: len(batch)].round()
    amounts = bins / (BINS - 1)
    if operation.is_signed:
        amounts = amounts * (1 - 2 * (torch.arange(len(batch)) % 2))
    found = operation.change(batch, amounts, policy, FILL[:channels])
    expected = torch.stack(
        [FUNCTIONS[name](x, float(a), policy) for x, a in zip(batch, amounts, strict=True)]
    )
    assert found.dtype == torch.uint8
    apart = (found.int() - expected.int()).abs()
    if name in GEOMETRIC:  # a pixel halfway between two may come from either
        assert float((apart > 0).double().mean()) < 0.01
    else:
        assert int(apart.max()) <= 1


def test_space_is_that_of_torchvision() -> None:
    names = [name.replace("_", "") for name in OPERATIONS]
    space = v2.TrivialAugmentWide._AUGMENTATION_SPACE
    assert sorted(names) == sorted(name.lower() for name in space)
    assert {n.lower() for n, (_, is_signed) in space.items() if is_signed} == {
        name.replace("_", "") for name, each in OPERATIONS.items() if each.is_signed
    }
    for policy, theirs in ((TRIVIAL, v2.TrivialAugmentWide), (RAND, v2.RandAugment)):
        most = {
            name: None if (each := ranges(BINS, 64, 64)) is None else float(each[-1])
            for name, (ranges, _) in theirs._AUGMENTATION_SPACE.items()
        }
        assert most["ShearX"] == pytest.approx(policy.shear)
        assert most["Rotate"] == pytest.approx(policy.degrees)
        assert most["Color"] == pytest.approx(policy.blend)
        assert most["Posterize"] == 8 - policy.bits
        assert most["TranslateX"] == pytest.approx(min(64 * policy.shift, policy.shift_pixels))


@pytest.mark.parametrize("name", ["trivial", "rand"])
def test_each_image_has_its_own_draw_and_places_draw_the_same(name: str) -> None:
    change = augment.Augmentation(
        crop_padding=0, flip=False, cutout=0, fill=FILL, policy=augment.POLICIES[name]
    )
    same = images(3, count=1).expand(64, -1, -1, -1)
    one, again, other = (change(same, seeds.generator("a", place)) for place in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.dtype == torch.uint8
    assert len({each.numpy().tobytes() for each in one}) > 20
    assert torch.equal(same, images(3, count=1).expand(64, -1, -1, -1))


def test_small_images_are_moved_no_farther_than_their_side() -> None:
    batch = images(1, side=8)
    found = OPERATIONS["translate_x"].change(batch, torch.ones(len(batch)), TRIVIAL, (5,))
    assert bool((found == 5).all())
    found = OPERATIONS["translate_x"].change(batch, torch.full((12,), 0.5), TRIVIAL, (5,))
    assert torch.equal(found[..., 4:], batch[..., :4])


def test_missing_package_is_named_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "is_installed", lambda package: package != "torchvision")
    augment.check(TrainingSpec(), "classes", 3)
    with pytest.raises(MissingPackageError, match=r"npas\[vision\]"):
        augment.check(TrainingSpec(augment="rand"), "classes", 3)


def test_channels_and_cells_that_do_not_suit_are_refused() -> None:
    spec = TrainingSpec(augment="trivial")
    augment.check(spec, "classes", 3)
    with pytest.raises(InvalidSpecError, match="and these have 4"):
        augment.check(spec, "classes", 4)
    for name, value in (("mixup", 0.2), ("augment", "rand"), ("random_erasing", 0.5)):
        with pytest.raises(InvalidSpecError, match=f"{name} changes images") as caught:
            augment.check(TrainingSpec.model_validate({name: value}), "cells", 3)
        assert caught.value.field == f"/training/{name}"
    with pytest.raises(InvalidSpecError, match='give "augment": "none"'):
        augment.check(TrainingSpec(recipe="best"), "cells", 3)
