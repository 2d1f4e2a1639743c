"""What `npas.declare` refuses, and where it says that it is."""

import npas
import pytest
import torch
from npas.errors import InvalidSpecError, UndeclarableError
from torch import nn


class Simple(nn.Module):
    """A convolution and a linear layer, and between them what a test says."""

    def __init__(self, between=lambda x, _: x, *, width=4):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 3), nn.Linear(width, 3)
        self.between = between

    def forward(self, x):
        return self.head(self.between(self.conv(x), self).mean((2, 3)))


def images(number=2, size=8, channels=3):
    generator = torch.Generator().manual_seed(number)
    return torch.randn(number, channels, size, size, generator=generator)


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        del ctx
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        del ctx
        return 2 * gradient


REFUSED = {
    "item": (lambda x, _: x * x.sum().item(), "item: what is computed depends on the numbers"),
    "if": (lambda x, _: x if x.sum() > 0 else -x, "__bool__|gt"),
    "own function": (lambda x, _: Twice.apply(x), "gradient of its own"),
    "randomness": (lambda x, _: x + torch.rand(1), "torch's random numbers"),
    "unknown": (lambda x, _: torch.fft.rfft(x).real, "fft_rfft is not among the functions"),
    "detached": (lambda x, _: x.detach(), "no gradient passes"),
    "training": (lambda x, m: x * 2 if m.training else x, "something else|more"),
    "batch": (lambda x, _: x if len(x) > 2 else -x, "another number of images|more images"),
    "index": (lambda x, _: x[:, torch.zeros(4, dtype=torch.long), 0], "an index with a Tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_declared_is_refused_with_its_place(name):
    between, message = REFUSED[name]
    with pytest.raises(UndeclarableError, match=message) as caught:
        npas.declare(Simple(between), images())
    if name not in ("batch", "training"):
        assert "test_tracing.py:" in caught.value.line, caught.value


def test_place_in_the_module_is_told():
    class Inner(nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x).real

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Identity(), Inner()])
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.blocks[1](x).mean((1, 2)))

    with pytest.raises(UndeclarableError, match=r"in 'blocks.1' \(.*test_tracing.py:\d+\)"):
        npas.declare(Outer(), images())


def _frozen():
    module = Simple()
    module.conv.weight.requires_grad_(False)
    return module


def _tied():
    module = Simple(width=3)
    module.other = nn.Linear(3, 3)
    module.other.weight = module.head.weight
    return module


def _hooked():
    module = Simple()
    module.conv.register_forward_hook(lambda *_: None)
    return module


def _parametrized():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 8)), nn.Flatten())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_frozen, "weight is frozen"),
        (_tied, "are one parameter"),
        (_hooked, "hooks"),
        (_parametrized, "parametrizations are to be removed"),
        (lambda: nn.Conv2d(3, 3, 8), "one module of torch's"),
        (lambda: nn.Sequential(nn.Conv2d(3, 3, 3)), r"forward gives \(2, 3, 6, 6\)"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), "1 number an image"),
    ],
)
def test_module_that_is_not_what_it_looks_like_is_refused(make, message):
    with pytest.raises(UndeclarableError, match=message):
        npas.declare(make(), images())


@pytest.mark.parametrize(
    "example",
    [
        *(None, "x", (), (torch.ones(2, 3, 8, 8), torch.ones(2)), torch.ones(2, 3)),
        *(
            torch.ones(2, 3, 8, 9),
            torch.ones(2, 3, 8, 8, dtype=torch.long),
            torch.ones(1, 3, 2, 2),
        ),
    ],
)
def test_example_that_is_no_batch_of_images_is_refused(example):
    with pytest.raises(InvalidSpecError, match="images"):
        npas.declare(Simple(), example)


def test_what_is_no_module_is_refused():
    with pytest.raises(InvalidSpecError, match=r"give an nn\.Module"):
        npas.declare(len, images())


def test_a_forward_that_does_not_run_on_other_batches_is_refused():
    fixed = Simple(lambda x, _: x.reshape(2, 4, 6, 6))
    with pytest.raises(UndeclarableError, match=r"does not run in .*\(3, 3, 8, 8\).*x\.shape"):
        npas.declare(fixed, images(2))
    with pytest.raises(UndeclarableError, match=r"does not run .* to have 3 channels"):
        npas.declare(Simple(), images(channels=4))


def test_what_has_no_weights_of_its_own_is_refused():
    module = Simple(width=16)
    shared = npas.share(module, npas.plan(module, method="ssn", budget=400))
    for given, path in ((shared, ""), (nn.Sequential(shared), "0"), (module, "conv")):
        with pytest.raises(UndeclarableError, match=r"shares by a plan already.*materialise") as e:
            npas.declare(given, images())
        assert e.value.path == path
    assert npas.declare(shared.materialise()["main"], images()).num_classes == 3
    with pytest.raises(UndeclarableError, match=r"conv.weight is on the device meta"):
        npas.declare(Simple().to("meta"), images())
