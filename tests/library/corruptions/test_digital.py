"""Contrast, elastic transform, pixelate and JPEG."""

import io

import numpy as np
import pytest
import torch
from npas.corruptions import SEVERITIES, corrupt, elastic_transform, find
from npas.corruptions._dct import CHROMINANCE, LUMINANCE, cosines, quantised, steps
from PIL import Image


def pillow(images, change):
    """What Pillow makes of images `(N, C, S, S)`."""
    channels = images.permute(0, 2, 3, 1).squeeze(-1).numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(each))) for each in channels])
    return torch.from_numpy(changed).reshape(*images.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)


def as_jpeg(quality):
    def change(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return change


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_shrinks_deviations_about_the_mean(severity, applied, random_images):
    images = random_images.float() / 255
    share = find("contrast").constants[severity - 1]
    found = applied(images, "contrast", share)
    means = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(found - means, (images - means) * share, rtol=0, atol=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_is_the_box_of_pillow(severity, random_images):
    size = int(32 * find("pixelate").constants[severity - 1])
    wanted = pillow(
        random_images,
        lambda image: image.resize((size, size), Image.Resampling.BOX).resize(
            (32, 32), Image.Resampling.BOX
        ),
    )
    found = corrupt(random_images, "pixelate", severity)
    assert (found.int() - wanted).abs().max() <= 1  # Pillow rounds rows before columns


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_makes_blocks_even(severity, random_images):
    size = int(32 * find("pixelate").constants[severity - 1])
    found = corrupt(random_images, "pixelate", severity)
    for dim in (2, 3):
        changes = found.movedim(dim, 0).flatten(1).diff(dim=0) != 0
        assert changes.any(1).sum() == size - 1


def test_jpeg_steps_are_those_of_the_files_of_pillow():
    for quality in (1, 40, 50, 58, 80, 95, 100):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        tables = Image.open(file).quantization
        for number, table in enumerate((LUMINANCE, CHROMINANCE)):
            assert steps(table, quality).flatten().int().tolist() == list(tables[number])


def test_jpeg_cosines_are_orthonormal():
    torch.testing.assert_close(cosines() @ cosines().T, torch.eye(8))


def test_jpeg_plane_is_that_of_a_plain_sum():
    plane = np.random.default_rng(0).integers(0, 256, (16, 24)).astype(float)
    rounding = steps(LUMINANCE, 50)
    at = np.arange(8)
    waves = np.cos((2 * at + 1) * at[:, None] * np.pi / 16) * np.where(at, 0.5, 8**-0.5)[:, None]
    wanted = np.empty_like(plane)
    for row in range(0, 16, 8):
        for column in range(0, 24, 8):
            block = plane[row : row + 8, column : column + 8] - 128
            found = np.einsum("ux,vy,xy->uv", waves, waves, block) / rounding.numpy()
            kept = np.round(found) * rounding.numpy()
            back = np.einsum("ux,vy,uv->xy", waves, waves, kept) + 128
            wanted[row : row + 8, column : column + 8] = back.round().clip(0, 255)
    found = quantised(torch.from_numpy(plane).float()[None], rounding)[0]
    assert np.abs(found.numpy() - wanted).max() <= 1  # halves may be rounded either way


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [8, 32, 35])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(severity, side, channels, pictures):
    images = torch.cat([pictures, pictures.flip(-2)], dim=-2)
    images = torch.cat([images, images.flip(-1)], dim=-1)[:, :channels, 9 : 9 + side, 9 : 9 + side]
    wanted = pillow(images, as_jpeg(find("jpeg_compression").constants[severity - 1])).float()
    found = corrupt(images, "jpeg_compression", severity).float()
    # Pillow computes cosines and colours with whole numbers: a few are rounded otherwise.
    assert (found - wanted).abs().mean() < 0.25 * (wanted - images).abs().mean()


def test_jpeg_of_high_quality_is_near_the_image(applied, pictures):
    images = pictures.float() / 255
    grey = applied(images[:, :1], "jpeg_compression", 100)
    assert (grey - images[:, :1]).abs().max() * 255 < 3
    found = applied(images, "jpeg_compression", 100)
    low = applied(images, "jpeg_compression", 10)
    assert (found - images).abs().mean() < (low - images).abs().mean() / 3


def test_elastic_reads_where_the_moves_say(random_images):
    images = random_images.float()
    still = torch.zeros(len(images), 2, 32, 32)
    torch.testing.assert_close(elastic_transform._read(images, still), images, rtol=0, atol=0.01)
    moves = still.clone()
    moves[:, 0], moves[:, 1] = 2, -1
    found = elastic_transform._read(images, moves)
    wanted = images.roll((1, -2), (2, 3))
    torch.testing.assert_close(found[..., 1:, :-2], wanted[..., 1:, :-2], rtol=0, atol=0.01)


def test_elastic_stretch_is_affine_and_moves_its_points_no_further(chance):
    moves = elastic_transform._stretch(32, 2.5, chance(16))
    for dim in (2, 3):
        bends = moves.diff(n=2, dim=dim)
        torch.testing.assert_close(bends, torch.zeros_like(bends), rtol=0, atol=1e-5)
    points = moves[:, :, [26, 6, 6], [26, 26, 6]]
    assert points.abs().max() <= 2.5 + 1e-5
    assert points.abs().mean().item() == pytest.approx(1.25, rel=0.2)


def test_elastic_dents_grow_with_severity(applied):
    ramp = (torch.arange(32.0) / 31).expand(32, 1, 32, 32)
    bends = []
    for constants in find("elastic_transform").constants:
        found = applied(ramp, "elastic_transform", constants)[..., 6:-6, 6:-6]
        bends.append(found.diff(n=2, dim=3).abs().mean().item())
    assert bends == sorted(set(bends))
    assert bends[0] < 1e-5


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_moves_pixels_and_nearly_keeps_the_histogram(severity, pictures):
    found = corrupt(pictures, "elastic_transform", severity)
    assert (found.amax((2, 3)) <= pictures.amax((2, 3))).all()
    assert (found.amin((2, 3)) >= pictures.amin((2, 3))).all()
    moved = (found.float() - pictures).abs().mean()
    sorts = [each.float().flatten(2).sort().values for each in (found, pictures)]
    assert moved > 3
    assert (sorts[0] - sorts[1]).abs().mean() < moved / 2
