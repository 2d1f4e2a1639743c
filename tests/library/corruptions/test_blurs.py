"""Blurs keep what is even, lower what is not, and go where they should."""

import math

import numpy as np
import pytest
import torch
from npas.corruptions import SEVERITIES, corrupt, defocus_blur, find, glass_blur
from npas.corruptions._motion import streak_weights, streaked
from npas.corruptions._resampling import gaussian_taps, gaussian_weights, resampled, zoom_taps

BLURS = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur")


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", BLURS)
def test_blur_leaves_an_even_image(name, severity):
    for level in (0, 77, 255):
        even = torch.full((2, 3, 32, 32), level, dtype=torch.uint8)
        assert torch.equal(corrupt(even, name, severity), even)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", sorted({*BLURS} - {"glass_blur"}))
def test_blur_lowers_what_differs_from_pixel_to_pixel(name, severity, pictures):
    found, before = corrupt(pictures, name, severity).double(), pictures.double()
    for dim in (2, 3):
        rough, smooth = (each.diff(dim=dim).square().mean() for each in (before, found))
        assert smooth < rough


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_keeps_the_mean(severity, applied, random_images):
    images = random_images.float()
    found = applied(images, "defocus_blur", find("defocus_blur").constants[severity - 1])
    torch.testing.assert_close(found.mean((2, 3)), images.mean((2, 3)), rtol=1e-5, atol=0)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_makes_a_point_a_round_spot(severity, applied):
    point = torch.zeros(1, 1, 33, 33)
    point[..., 16, 16] = 1
    constants = find("defocus_blur").constants[severity - 1]
    spot = applied(point, "defocus_blur", constants)[0, 0]
    assert spot.sum().item() == pytest.approx(1, abs=1e-6)
    for other in (spot.T, spot.flip(0), spot.flip(1)):
        torch.testing.assert_close(spot, other)
    away = (torch.arange(33) - 16).abs()
    is_near = torch.maximum(away[:, None], away) <= math.floor(constants[0] * 33 / 32) + 2
    assert not spot[~is_near].any()
    assert spot[16, 16] < 1


@pytest.mark.parametrize("radius", [0.3, 1.0, 1.5, 6.2])
def test_defocus_kernel_is_a_disk(radius):
    kernel = defocus_blur._kernel(radius, 0.1, 1)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    places = np.arange(len(kernel)) - len(kernel) // 2
    num_inside = (places[:, None] ** 2 + places**2 <= radius**2).sum()
    assert (kernel > 0.5 / num_inside).sum() == num_inside


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0, 6.4])
def test_gaussian_has_its_variance_and_sums_to_one(sigma):
    weights = gaussian_weights(sigma, 40).double()
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    variance = (weights * torch.arange(-40, 41) ** 2).sum().item()
    if sigma >= 1:
        assert variance == pytest.approx(sigma**2, rel=1e-3)
    taps = gaussian_taps(32, sigma, truncate=4)
    torch.testing.assert_close(taps.weights.sum(0), torch.ones(32))


@pytest.mark.parametrize("side", [8, 32])
def test_gaussian_blur_keeps_the_mean_however_wide(side):
    images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    found = resampled(images, gaussian_taps(side, 6.4, truncate=3))
    torch.testing.assert_close(found.mean((2, 3)), images.mean((2, 3)))
    assert found.std() < images.std() / 4


def test_glass_scatters_as_the_released_loop_does():
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    moves = draw.integers(-1, 1, (2, 32, 32))
    wanted = image.copy()
    for row in range(31, 1, -1):
        for column in range(31, 1, -1):
            there = row + moves[0, row, column], column + moves[1, row, column]
            wanted[row, column], wanted[there] = wanted[there], wanted[row, column]
    channels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    found = glass_blur._scattered(channels, torch.from_numpy(moves)[None], 1)
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_moves_pixels_no_further_than_its_rounds(severity, applied):
    constants = find("glass_blur").constants[severity - 1]
    reach = constants[2] + 2 * int(4 * constants[0] + 0.5)
    edge = torch.zeros(8, 1, 32, 32)
    edge[..., 16:] = 1
    found = applied(edge, "glass_blur", constants)
    assert not found[..., : 16 - reach].any()
    assert (found[..., 16 + reach :] > 0.999).all()
    assert not torch.equal(found[0], found[1])


def test_streak_weights_are_half_a_bell():
    for radius, sigma in find("motion_blur").constants:
        weights = streak_weights(radius, sigma)
        assert weights.sum().item() == pytest.approx(1, abs=1e-6)
        assert len(weights) <= 2 * radius + 1
        wanted = math.exp(-0.5 / sigma**2)
        assert (weights[1] / weights[0]).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("angle", "step"), [(0, (0, -1)), (90, (-1, 0)), (45, (-1, -1))])
def test_streak_goes_along_its_direction(angle, step):
    point = torch.zeros(1, 1, 33, 33)
    point[..., 16, 16] = 1
    found = streaked(point, torch.tensor([float(angle)]), radius=6, sigma=2)[0, 0]
    assert found.sum().item() == pytest.approx(1, abs=1e-6)
    places = (found.nonzero() - 16).tolist()
    assert len(places) > 4
    for row, column in places:
        assert row * step[1] == column * step[0]
        assert row * step[0] >= 0
        assert column * step[1] >= 0


def test_streak_leaves_lines_of_its_direction():
    lines = (torch.arange(32) % 4 < 2).float().expand(1, 1, 32, 32)
    down, right = (
        streaked(lines, torch.tensor([angle]), radius=6, sigma=2) for angle in (90.0, 0.0)
    )
    torch.testing.assert_close(down, lines)
    assert right.var() < lines.var() / 4


def test_motion_blur_is_nearer_to_the_horizontal():
    point = torch.zeros(32, 1, 33, 33, dtype=torch.uint8)
    point[..., 16, 16] = 255
    away = torch.arange(33).sub(16).abs().float()
    spots = corrupt(point, "motion_blur", 5)[:, 0].float()
    down, right = ((spots.sum(dim) * away).sum(1) for dim in (2, 1))
    assert (down <= right).all()
    assert down.max() > 0


@pytest.mark.parametrize("factor", [1.0, 1.07, 1.25])
def test_zoom_reads_nearer_to_the_middle(factor):
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    found = resampled(ramp, zoom_taps(32, factor))
    torch.testing.assert_close(found, 15.5 + (ramp - 15.5) / factor)


def test_zoom_blur_is_the_mean_of_its_zooms(applied):
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    for most in find("zoom_blur").constants:
        factors = [1, 1, *(1 + percent / 100 for percent in range(1, most + 1))]
        share = sum(1 / factor for factor in factors) / len(factors)
        wanted = 15.5 + (ramp - 15.5) * share
        torch.testing.assert_close(applied(ramp, "zoom_blur", most), wanted)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_leaves_the_centre_and_blurs_the_edge(severity):
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (32, 3, 33, 33), generator=draw, dtype=torch.uint8)
    found = corrupt(images, "zoom_blur", severity)
    assert torch.equal(found[..., 16, 16], images[..., 16, 16])
    changes = (found.float() - images).abs().mean((0, 1))
    assert changes[14:19, 14:19].mean() < changes[[0, 1, -2, -1]].mean() / 2
