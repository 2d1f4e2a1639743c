"""Architectures: what is counted on the meta device is what is built, and every weight is seen."""

import npas
import pytest
import torch
from npas import arch
from npas.arch.layers import LayerTable, tabulate, without_embeddings
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec, NetworkSpec
from torch import nn

NAMES = [
    *("wrn-16-2", "resnet-14", "torchvision:resnet18", "torchvision:squeezenet1_1"),
    *("resnext-11-8x16", "densenet-22-12"),
    *("torchvision:mobilenet_v3_small", "torchvision:shufflenet_v2_x0_5", "torchvision:swin_t"),
    *("torchvision:regnet_y_400mf", "torchvision:mnasnet0_5", "torchvision:swin_v2_t"),
    *("torchvision:efficientnet_b0", "torchvision:convnext_tiny", "torchvision:maxvit_t"),
    *("torchvision:googlenet", "torchvision:densenet121", "torchvision:resnext50_32x4d"),
]
every_name = pytest.mark.parametrize("name", NAMES)


def table_of(name, **sizes):
    spec = arch.resolve(ArchitectureSpec(name=name, **sizes))
    return arch.layer_table([NetworkSpec(name="main", architecture=spec)])


def described(tensors):
    return [(name, tuple(t.shape), t.dtype) for name, t in tensors]


@pytest.mark.slow
@every_name
def test_built_three_ways_is_the_same_network(name):
    spec = arch.resolve(ArchitectureSpec(name=name, num_classes=4))
    real = arch.build(spec, seed=1)
    empty, meta = arch.build_uninitialised(spec), arch.build(spec, device="meta")
    assert described(real.named_parameters()) == described(meta.named_parameters())
    assert described(real.named_parameters()) == described(empty.named_parameters())
    assert list(real.state_dict()) == list(empty.state_dict()) == list(meta.state_dict())
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    empty.load_state_dict(real.state_dict())
    size = 64 if spec.input_size == 224 and "maxvit" not in name else spec.input_size
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        assert torch.equal(real.eval()(x), empty.eval()(x))


@every_name
def test_layer_table_sees_every_weight_of_a_linear_map(name):
    table = table_of(name)
    model = npas.build(name, device="meta")
    seen = {layer.name: layer.shape for layer in table.layers}
    assert table.dense == sum(p.numel() for p in model.parameters())
    for layer, shape in seen.items():
        assert tuple(model.get_parameter(layer).shape) == shape
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert f"{path}.weight" in seen
    assert len({layer.name for layer in table.layers}) == len(table.layers)


@every_name
def test_layer_table_has_one_stem_and_a_classifier(name):
    table = table_of(name, num_classes=13)
    roles = [layer.role for layer in table.layers]
    assert roles[0] == "stem"
    assert roles.count("stem") == 1
    assert roles[-1] == "classifier"
    assert table.layers[-1].shape[0] == 13


def test_layer_table_tells_kinds_apart():
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv1d(8, 8, 3),
        nn.Conv3d(8, 8, 3),
        nn.Linear(8, 8),
        nn.MultiheadAttention(8, 2),
        nn.BatchNorm2d(8),
        nn.Embedding(5, 8),
    )
    table = tabulate({"main": model}, {"main": None}, {"main": 3})
    assert [layer.kind for layer in table.layers] == [
        *("conv2d", "grouped", "depthwise", "conv1d", "conv3d", "linear", "attention", "linear"),
        "embedding",
    ]
    classes = [layer.kernel_class for layer in table.layers]
    assert len(set(classes)) == len(classes) - 1
    rest = without_embeddings(table)
    assert rest.layers == table.layers[:-1]
    assert rest.dense == table.dense
    assert without_embeddings(rest) is rest
    assert table.dense == sum(p.numel() for p in model.parameters())


def test_layer_table_counts_a_tied_weight_once_and_leaves_it_alone():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = (nn.Linear(4, 4) for _ in range(3))
            self.two.weight = self.one.weight

    table = tabulate({"main": Tied()}, {"main": None}, {"main": 5})
    assert [layer.name for layer in table.layers] == ["three.weight"]
    assert table == LayerTable(layers=table.layers, others=16 + 3 * 4)


def test_frozen_weights_are_no_layers_to_generate():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    table = tabulate({"main": model}, {"main": None}, {"main": 4})
    assert table.dense == 20
    assert [layer.name for layer in table.layers] == ["1.weight"]


@pytest.mark.parametrize("name", ["resnet-8", "wrn-10-1", "torchvision:resnet18"])
def test_build_takes_its_seed_and_leaves_the_random_state(name):
    before = torch.get_rng_state()
    one, other = (npas.build(name, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    drawn = npas.build(name).state_dict()
    assert all(torch.equal(value, drawn[key]) for key, value in one.items())


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(
    "name", [*NAMES[:8], "torchvision:vit_b_16", "torchvision:inception_v3", "torchvision:vgg11"]
)
def test_another_number_of_channels_changes_the_stem_alone(name, channels):
    usual, found = table_of(name), table_of(name, input_channels=channels)
    assert found.layers[0].shape[1] == channels
    assert found.layers[0].shape[2:] == usual.layers[0].shape[2:]
    assert [la.shape for la in found.layers[1:]] == [la.shape for la in usual.layers[1:]]
    assert found.others == usual.others


def test_small_images_run_through_every_family():
    for name in ("resnet-8", "wrn-10-1", "resnext-11-1x64", "densenet-10-4"):
        model = npas.build(ArchitectureSpec(name=name, input_channels=1)).eval()
        for size in (4, 5, 8, 32):
            assert model(torch.zeros(2, 1, size, size)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "size"),
    [("torchvision:alexnet", 32), ("torchvision:inception_v3", 64), ("torchvision:vgg11", 16)],
)
def test_images_that_are_too_small_are_refused(name, size):
    with pytest.raises(InvalidSpecError, match=f"images of {size} pixels") as caught:
        npas.plan(ArchitectureSpec(name=name, input_size=size))
    assert caught.value.field == "/architecture/input_size"


def test_layer_table_is_the_same_object_again():
    """It is frozen, so it can be kept; planning a network twice builds it once."""
    assert table_of("wrn-16-1") is table_of("wrn-16-1")
    assert table_of("wrn-16-1") != table_of("wrn-16-1", num_classes=11)
