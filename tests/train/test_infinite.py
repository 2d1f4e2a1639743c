"""A mask of -inf stays what it is through a training; NaN is told of all the same."""

import math

import npas
import torch
from npas.train.infinite import infinite_buffers
from torch import nn


class Masked(nn.Module):
    """Attends to what came before."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.register_buffer("mask", torch.full((8, 8), -math.inf).triu(1))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).mT / 4 + self.mask
        return scores.softmax(-1) @ self.value(x)


def test_infinities_of_buffers_are_found_and_no_nan():
    module = Masked()
    module.register_buffer("nothing", torch.tensor([math.nan, math.inf]))
    assert infinite_buffers(module) == {"mask"}


def test_network_with_a_mask_is_fitted_and_saved_in_bytes(tmp_path):
    x = torch.randn(32, 8, 16, generator=torch.Generator().manual_seed(1))
    plan = npas.plan(Masked(), budget={"bytes": 3000}, example=(x[:2],))
    shared = npas.share(Masked(), plan)
    npas.fit(shared, (x, x), loss=nn.functional.mse_loss, epochs=2, batch_size=8, progress=None)
    npas.save(shared, tmp_path / "model")
    assert (tmp_path / "model").stat().st_size <= 3000
    loaded = npas.load(tmp_path / "model", into=Masked())
    assert torch.equal(loaded.network("main").mask, Masked().mask)
