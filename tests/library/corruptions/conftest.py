"""Real images, and one stream of chance per image, for what is tried below `corrupt`."""

import pytest
import torch
from npas import corruptions, data
from npas.corruptions._chance import Chance
from torch.nn import functional


@pytest.fixture(scope="session")
def digits():
    """Written digits as they are, uint8 `(24, 1, 8, 8)`."""
    return data.load("digits").x_test[:24].contiguous()


@pytest.fixture(scope="session")
def pictures(digits):
    """Digits as large as the paper's images, each in a colour, on another: `(24, 3, 32, 32)`."""
    large = functional.interpolate(digits.float(), size=32, mode="bicubic").clamp(0, 255) / 255
    draw = torch.Generator().manual_seed(0)
    ink, paper = (torch.rand(len(large), 3, 1, 1, generator=draw) for _ in range(2))
    return ((large * ink + (1 - large) * paper) * 255).round().to(torch.uint8)


@pytest.fixture(scope="session")
def random_images():
    """Every byte drawn: `(12, 3, 32, 32)`."""
    draw = torch.Generator().manual_seed(1)
    return torch.randint(256, (12, 3, 32, 32), dtype=torch.uint8, generator=draw)


@pytest.fixture(scope="session")
def chance():
    """Return streams for a number of images, the same ones always."""
    return lambda images: Chance(("test",), range(images))


@pytest.fixture(scope="session")
def applied(chance):
    """Corrupt float images, nothing rounded, by name and constants."""
    return lambda images, name, constants: corruptions.find(name).apply(
        images, constants, chance(len(images))
    )
