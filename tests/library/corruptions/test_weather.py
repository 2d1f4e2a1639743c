"""Snow, frost, fog and light: what they add, and where."""

import colorsys

import pytest
import torch
from npas.corruptions import SEVERITIES, corrupt, find
from npas.corruptions._plasma import plasma

BLACK = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["snow", "frost", "fog", "brightness"])
def test_dark_images_are_made_brighter(name, severity, pictures):
    dark = pictures // 3
    dark[..., 0, 0] = 255  # fog goes as far as the brightest value
    found = corrupt(dark, name, severity).float().mean((1, 2, 3))
    assert (found > dark.float().mean((1, 2, 3))).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_on_black_is_grey_and_the_same_upside_down(severity):
    found = corrupt(BLACK, "snow", severity)
    assert torch.equal(found, found.rot90(2, (2, 3)))
    assert torch.equal(found[:, 0], found[:, 2])
    pale = round(0.5 * (1 - find("snow").constants[severity - 1][-1]) * 255)
    assert abs(found.min().item() - pale) <= 1
    assert found.max() > pale + 20


def test_snow_makes_the_image_pale_by_its_share(applied):
    for constants in find("snow").constants:
        black, grey = (
            applied(torch.full((2, 3, 32, 32), level), "snow", constants) for level in (0.0, 0.2)
        )
        wanted = 0.2 * constants[-1] + 0.3 * (1 - constants[-1])
        torch.testing.assert_close(grey - black, torch.full_like(black, wanted))


def test_snow_falls_rather_than_drifts():
    found = corrupt(BLACK.repeat(4, 1, 1, 1), "snow", 4).double()
    down, right = (found.diff(dim=dim).abs().mean() for dim in (2, 3))
    assert down < right


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_on_black_is_bluish_ice_of_its_share(severity):
    share = find("frost").constants[severity - 1][1]
    red, green, blue = corrupt(BLACK, "frost", severity).unbind(1)
    assert (blue >= green).all()
    assert (green >= red).all()
    assert blue.max() <= round(255 * share)
    assert blue.max() > 255 * share * 0.9
    assert 0.2 < blue.double().mean() / (255 * share) < 0.8


def test_frost_keeps_its_share_of_the_image(applied):
    for kept, share in find("frost").constants:
        dark, bright = (
            applied(torch.full((2, 1, 32, 32), level), "frost", (kept, share))
            for level in (0.1, 0.5)
        )
        torch.testing.assert_close(bright - dark, torch.full_like(dark, 0.4 * kept))


def test_fog_shrinks_what_differs_below_it(applied, random_images):
    one, other = random_images.float().mul(0.8 / 255).split(6)
    one[..., 0, 0], other[..., 0, 0] = 0.8, 0.8
    for thickness, decay in find("fog").constants:
        foggy = [applied(images, "fog", (thickness, decay)) for images in (one, other)]
        wanted = (one - other) * 0.8 / (0.8 + thickness)
        torch.testing.assert_close(foggy[0] - foggy[1], wanted)
        assert foggy[0].max() <= 0.8 + 1e-6


@pytest.mark.parametrize("side", [8, 28, 32, 33])
def test_plasma_goes_from_0_to_1_and_decay_makes_it_smooth(side, chance):
    rough, smooth = (plasma(side, decay, chance(4)) for decay in (1.5, 3))
    for found in (rough, smooth):
        assert found.shape == (4, 1, side, side)
        assert found.min() >= 0
        assert found.max() <= 1
    assert smooth.diff(dim=2).abs().mean() < rough.diff(dim=2).abs().mean() * 0.8
    assert not torch.equal(rough[0], rough[1])


def test_plasma_reaches_both_ends_where_none_is_cut_off(chance):
    found = plasma(32, 2, chance(4))
    assert found.amin((1, 2, 3)).tolist() == [0] * 4
    assert found.amax((1, 2, 3)).tolist() == [1] * 4


def test_plasma_heights_are_means_where_nothing_is_drawn(chance):
    # So quick a decay that only the first step is drawn: all else is between its neighbours.
    found = plasma(16, 1e4, chance(1))[0, 0]
    corner, middle = found[0, 0], found[8, 8]
    top = found[0, 8]
    torch.testing.assert_close(found[4, 4], (corner + middle + top + found[8, 0]) / 4)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_raises_the_value_alone(severity, random_images):
    more = find("brightness").constants[severity - 1]
    images = torch.cat([random_images[:1, :, :12, :12], BLACK[:1, :, :12, :12]])
    found = corrupt(images, "brightness", severity).double() / 255
    before = images.double().div(255).permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    after = found.permute(0, 2, 3, 1).reshape(-1, 3)
    for old, new in zip(before, after, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*old)
        wanted = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + more))
        torch.testing.assert_close(new, torch.tensor(wanted).double(), rtol=0, atol=0.51 / 255)


def test_snow_of_larger_flakes_is_smoother(applied):
    black = torch.zeros(8, 1, 32, 32)
    small, large = (
        applied(black, "snow", (0.3, 0.1, size, 0, 8, 3, 1)).diff(dim=3).abs().mean()
        for size in (1, 2.5)
    )
    assert large < small * 0.8
