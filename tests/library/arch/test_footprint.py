"""What a network costs, counted on the meta device, against a real forward pass."""

import npas
import pytest
import torch
from npas import arch
from npas.arch.footprint import Counting, footprint
from torch import nn

PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear)

DECLARED = [
    {"kind": "conv", "channels": 6, "stride": 2},
    {"kind": "conv", "channels": 6, "groups": 2},
    {"kind": "activation"},
    {"kind": "steps"},
    {"kind": "recurrent", "outputs": 5},
    {"kind": "recurrent", "outputs": 6, "cell": "gru"},
    {"kind": "attention", "heads": 2},
    {"kind": "pool", "function": "global"},
    {"kind": "linear"},
]

NETWORKS = [
    "resnet-8",
    "wrn-10-1",
    "resnext-11-2x8",
    "densenet-10-4",
    "grid-cnn-4-8",
    {"name": "torchvision:mobilenet_v3_small", "input_size": 64},
    {"name": "declared", "layers": DECLARED},
    "vit-2-16-4",
    "text-encoder-2-16",
    pytest.param("cells:darts", marks=pytest.mark.slow),
]


def resolved(architecture):
    return arch.resolve(arch.as_spec(architecture))


def seen_by_hooks(spec):
    """Return the multiply-adds of one image in the modules of a real network."""
    model = npas.build(spec)
    found = []

    def note(module, inputs, output):
        if isinstance(module, nn.MultiheadAttention):
            images, steps, width = inputs[0].shape
            found.append(images * (4 * steps * width**2 + 2 * steps**2 * width))
            return
        if isinstance(module, nn.LSTM | nn.GRU | nn.RNN):
            gates = module.weight_ih_l0.shape[0]
            steps = inputs[0].shape[0] * inputs[0].shape[1]
            found.append(steps * gates * (module.input_size + module.hidden_size))
            return
        found.append(output.numel() * module.weight[0].numel())

    kinds = (*PRODUCTS, nn.LSTM, nn.GRU, nn.RNN, nn.MultiheadAttention)
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(note)
    with torch.no_grad():
        model.train()(arch.example_input(spec))
    return sum(found) // 2


@pytest.mark.parametrize("architecture", NETWORKS)
def test_multiply_adds_are_those_of_a_real_pass(architecture):
    spec = resolved(architecture)
    assert footprint(spec, batch=3).macs == seen_by_hooks(spec) > 0


def test_multiply_adds_of_transposed_convolutions_are_those_of_a_real_pass():
    with Counting() as counted:
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, device="meta")(
            torch.empty(2, 4, 5, 5, device="meta")
        )
    assert counted.macs == 2 * 4 * 5 * 5 * 3 * 9


def test_operations_do_not_depend_on_the_batch_and_bytes_do():
    spec = resolved("resnet-8")
    small, large = footprint(spec, batch=4), footprint(spec, batch=8)
    assert (small.macs, small.operations) == (large.macs, large.operations)
    assert small.kept_bytes < large.kept_bytes <= 2 * small.kept_bytes
    deep = footprint(resolved("resnet-14"), batch=4)
    assert deep.operations > small.operations > 8


def test_tensors_are_those_of_the_state():
    spec = resolved("resnet-8")
    model = npas.build(spec)
    trained = {name for name, _ in model.named_parameters()}
    assert {
        each.name: (each.dtype, each.shape, each.is_trained)
        for each in footprint(spec, batch=2).tensors
    } == {
        name: (tensor.dtype, tuple(tensor.shape), name in trained)
        for name, tensor in model.state_dict().items()
    }
