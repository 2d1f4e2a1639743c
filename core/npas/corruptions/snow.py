"""Snow that falls aslant, on an image made pale."""

import torch
from torch import Tensor

from npas.corruptions._chance import Chance
from npas.corruptions._corruption import Corruption, enlargement
from npas.corruptions._luma import luma
from npas.corruptions._motion import streaked
from npas.corruptions._resampling import resampled, zoom_taps

Constants = tuple[float, float, float, float, float, float, float]


def _flakes(images: Tensor, constants: Constants, chance: Chance) -> Tensor:
    """Return white on black, `(N, 1, S, S)`."""
    mean, deviation, size, threshold, radius, sigma, _ = constants
    scale, side = enlargement(images), images.shape[-1]
    drawn = mean + chance.normal(1, side, side) * deviation
    large = resampled(drawn, zoom_taps(side, size * scale))
    bright = torch.where(large < threshold, torch.zeros(()), large).clamp(0, 1)
    angles = chance.uniform(1, low=-135, high=-45).flatten()
    return streaked(bright, angles, radius=radius * scale, sigma=sigma * scale)


def _apply(images: Tensor, constants: Constants, chance: Chance) -> Tensor:
    kept, flakes = constants[-1], _flakes(images, constants, chance)
    pale = torch.maximum(images, luma(images) * 1.5 + 0.5)
    return images * kept + pale * (1 - kept) + flakes + flakes.rot90(2, (-2, -1))


CORRUPTION = Corruption(
    title="mean, deviation, size and threshold of flakes; radius, sigma of their fall; image kept",
    constants=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    apply=_apply,
)
