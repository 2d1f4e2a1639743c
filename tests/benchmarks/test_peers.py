from dataclasses import replace

import npas
import pytest
import torch
from npas.spec import ArchitectureSpec, TrainingSpec
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.ensembles.by_trainer import member_macs
from benchmarks.ensembles.trained import counted
from benchmarks.peers.batch_ensemble import BatchEnsemble, MemberConvolution
from benchmarks.peers.early_exit import EarlyExit
from benchmarks.peers.fitting import largest_scale, num_parameters
from benchmarks.peers.mimo import Mimo, OwnImages
from benchmarks.peers.packed import PackedEnsemble
from benchmarks.peers.skeleton import Shape

SHAPE = Shape(depth=10, width=2, scale=0.25, num_classes=10, input_channels=3)
STEM, ONE, TWO, THREE = SHAPE.channels


def _weights(num_in: int, num_out: int, kernel: int) -> int:
    return num_in * num_out * kernel**2


def _convolutions(stem: int, one: int, two: int, three: int) -> list[tuple[int, int, int]]:
    """(in, out, kernel) of every convolution of a network of depth 10 behind its stem."""
    found = []
    for num_in, num_out in ((stem, one), (one, two), (two, three)):
        found += [(num_in, num_out, 3), (num_out, num_out, 3), (num_in, num_out, 1)]
    return found


def _norm_channels(stem: int, one: int, two: int, three: int) -> int:
    return stem + one + one + two + two + three + three  # two a block, and one at the end


def test_channels_are_those_of_the_familys_networks() -> None:
    assert SHAPE.channels == (4, 8, 16, 32)
    family = npas.build(ArchitectureSpec(name="wrn-10-2", options={"scale": 0.25}))
    plain = sum(_weights(*each) for each in [(3, STEM, 3), *_convolutions(*SHAPE.channels)])
    norms = 2 * _norm_channels(*SHAPE.channels)
    assert num_parameters(family) == plain + norms + THREE * 10 + 10


def test_batch_ensemble_has_one_weight_and_signs_norms_and_biases_for_each_member() -> None:
    layers = [(3, STEM, 3), *_convolutions(*SHAPE.channels)]
    shared = sum(_weights(*each) for each in layers) + THREE * 10
    own = sum(num_in + num_out for num_in, num_out, _ in layers) + (THREE + 10) + 10
    own += 2 * _norm_channels(*SHAPE.channels)

    for members in (1, 4):
        model = BatchEnsemble(SHAPE, members=members)
        assert num_parameters(model) == shared + members * own
        signs = torch.cat([p.flatten() for n, p in model.named_parameters() if "coeff" in n])
        assert set(signs.tolist()) == {-1.0, 1.0}


def test_batch_ensemble_is_each_member_with_its_own_weight() -> None:
    torch.manual_seed(0)
    layer = MemberConvolution(3, nn.Conv2d(4, 6, 3, padding=1, bias=False), 4, 6)
    with torch.no_grad():
        layer.before.coefficients.normal_()
        layer.after.coefficients.normal_()
    x = torch.randn(3 * 5, 4, 7, 7)

    said = layer(x)

    weight = layer.convolution.weight
    assert isinstance(weight, Tensor)
    for member, (part, own) in enumerate(zip(x.chunk(3), said.chunk(3), strict=True)):
        r, s = layer.before.coefficients[member], layer.after.coefficients[member]
        scaled = weight * torch.outer(s, r)[:, :, None, None]
        expected = functional.conv2d(part, scaled, padding=1)
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_batch_ensembles_members_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = BatchEnsemble(SHAPE, members=2)
    x = torch.randn(4, 3, 8, 8)
    before = model.members(x)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if name.endswith("coefficients"):
                each[1] *= -1.5
            if ".norms.1." in name:
                each.add_(0.1)
    after = model.members(x)

    assert torch.equal(before["member1"], after["member1"])
    assert not torch.allclose(before["member2"], after["member2"])


def _packed(alpha: float = 2.0, gamma: int = 1) -> PackedEnsemble:
    torch.manual_seed(0)
    return PackedEnsemble(SHAPE, members=4, alpha=alpha, gamma=gamma)


@pytest.mark.parametrize("gamma", [1, 2])
def test_packed_has_only_the_weights_inside_of_groups(gamma: int) -> None:
    groups = 4 * gamma
    channels = [groups * max(1, round(2 * count / groups)) for count in SHAPE.channels]
    stem, one, two, three = channels
    inside = sum(_weights(*each) // groups for each in _convolutions(stem, one, two, three))
    norms = 2 * _norm_channels(stem, one, two, three)

    found = num_parameters(_packed(gamma=gamma))

    assert found == 27 * stem + inside + norms + three * 10 + 4 * 10


def test_packed_is_its_members_run_one_by_one() -> None:
    packed, x = _packed().eval(), torch.randn(5, 3, 8, 8)
    # Half the channels of one network: twice as many for four.
    spec = ArchitectureSpec(name="wrn-10-2", options={"scale": 0.125})
    said = packed.members(x)

    for member in range(4):
        alone = npas.build(spec)
        parts = {
            name: tensor.chunk(4)[member]
            for name, tensor in packed.state_dict().items()
            if tensor.dim()
        }
        renamed = {
            name.replace("skeleton.stem.", "conv.")
            .replace("skeleton.", "")
            .replace("heads.", "fc."): tensor
            for name, tensor in parts.items()
        }
        renamed["fc.weight"] = renamed["fc.weight"][:, :, 0, 0]
        found = alone.load_state_dict(renamed, strict=False)
        assert not found.unexpected_keys
        assert all(name.endswith("num_batches_tracked") for name in found.missing_keys)
        torch.testing.assert_close(
            said[f"member{member + 1}"], alone.eval()(x), rtol=1e-4, atol=1e-5
        )


def test_mimo_reads_and_answers_for_every_head() -> None:
    model = Mimo(SHAPE, heads=3)
    x = torch.randn(5, 3, 8, 8)
    one = npas.build(ArchitectureSpec(name="wrn-10-2", options={"scale": 0.25}))

    assert {name: tuple(each.shape) for name, each in model.members(x).items()} == {
        f"head{number}": (5, 10) for number in (1, 2, 3)
    }
    extra = 2 * 3 * STEM * 9 + 2 * (THREE + 1) * 10
    assert num_parameters(model) == num_parameters(one) + extra


def test_mimo_trains_every_head_on_images_of_its_own_with_their_labels() -> None:
    labels = torch.arange(10).repeat(3)
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    heard: list[list[int]] = []

    class Bytes:
        """Passes bytes on."""

        def __call__(self, images: Tensor) -> Tensor:
            return images.float()

    class Echo(nn.Module):
        """Says of each head's image the number in its first pixel, as the class."""

        def forward(self, x: Tensor) -> Tensor:
            """Map (B, heads, H, W) to (B, heads * 10)."""
            seen = x[:, :, 0, 0].long()
            heard.extend(seen.T.tolist())
            return 50.0 * functional.one_hot(seen, 10).float().flatten(1)

    model = Mimo(replace(SHAPE, input_channels=1), heads=2)
    model.network = Echo()
    objective = OwnImages(
        spec=TrainingSpec(),
        inputs=Bytes(),  # type: ignore[arg-type]  # in place of a dataset's scaling
        precision=torch.float32,
    )
    torch.manual_seed(0)
    total, hits = objective(model, images, labels)

    assert total.item() == pytest.approx(0, abs=1e-4)
    assert hits.tolist() == [60, 60]
    assert sorted(heard[0]) == sorted(heard[1]) == sorted(labels.tolist())
    assert heard[0] != heard[1]


def test_exits_answer_alike_alone_and_together_and_cost_what_comes_before() -> None:
    model, x = EarlyExit(SHAPE).eval(), torch.randn(2, 3, 8, 8)
    body = sum(_weights(*each) for each in [(3, STEM, 3), *_convolutions(*SHAPE.channels)])
    ends = ONE + TWO + THREE
    norms = 2 * (_norm_channels(*SHAPE.channels) + ONE + TWO)

    said = model.members(x)

    for name in model.network_names:
        torch.testing.assert_close(model.until(name, x), said[name])
    assert num_parameters(model) == body + norms + 10 * ends + 30
    macs = member_macs(model, x[:1])
    stage = 64 * (8 * 4 * 9 + 8 * 8 * 9 + 8 * 4)
    assert macs["exit1"] == 64 * 4 * 27 + stage + 10 * ONE
    assert macs["exit1"] < macs["exit2"] < macs["exit3"] < counted(model, x[:1])[0]


def test_largest_scale_is_the_last_that_fits() -> None:
    def build(scale: float) -> nn.Module:
        return nn.Linear(round(1000 * scale), 1, bias=False)

    assert largest_scale(build, 321) == 0.321
    with pytest.raises(ValueError, match="no such network"):
        largest_scale(lambda _: nn.Linear(10, 1), 3)
