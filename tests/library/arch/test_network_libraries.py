"""Networks of timm and transformers: built from their names alone, small, and as those build them.

A sample, one network of a kind; `benchmarks/network_libraries.py` goes through all.
"""

import json
import socket
import subprocess
import sys

import npas
import pytest
import timm
import torch
import transformers
from npas import arch
from npas.arch.families import hf
from npas.arch.families.hf import HfOptions
from npas.errors import InvalidSpecError, UnknownNameError
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec
from torch import nn

pytestmark = pytest.mark.slow

SMALL = {
    "timm:test_resnet": {"stem": "small"},
    "timm:test_vit": {},
    "timm:test_convnext": {},
    "timm:test_efficientnet": {},
    "timm:test_nfnet": {},
    "timm:test_mambaout": {},
    "timm:lcnet_035": {},
    "timm:vit_tiny_patch16_224": {"patch_size": 4, "depth": 2, "embed_dim": 48},
    "hf:vit": {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 64, "patch_size": 8},
    },
    "hf:dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    | {"patch_size": 8},
    "hf:convnext": {"hidden_sizes": "8,12,16,24", "depths": "1,1,2,1"},
    "hf:resnet": {"hidden_sizes": "8,12", "depths": "2,1", "embedding_size": 8}
    | {"layer_type": "basic"},
    "hf:swin": {"embed_dim": 12, "depths": "2,2", "num_heads": "2,3", "window_size": 4},
    "hf:poolformer": {"hidden_sizes": "8,8,12,12", "depths": "1,1,1,1"},
    "hf:deit": {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 64, "patch_size": 8},
    },
}
FIELDS = HfOptions.model_json_schema()["properties"]
every_network = pytest.mark.parametrize("name", SMALL)


def spec_of(name, size=32, **sizes):
    given = {"num_classes": 7, "input_size": size, "options": SMALL[name]}
    return arch.resolve(ArchitectureSpec(name=name, **(given | sizes)))


def table_of(spec):
    return arch.layer_table([NetworkSpec(name="main", architecture=spec)])


def described(tensors):
    return [(name, tuple(t.shape), t.dtype) for name, t in tensors.items()]


@every_network
def test_built_three_ways_is_the_same_network(name):
    spec = spec_of(name)
    real, meta = arch.build(spec, seed=1), arch.build(spec, device="meta")
    empty = arch.build_uninitialised(spec)
    states = [described(net.state_dict()) for net in (real, meta, empty)]
    assert states[0] == states[1] == states[2]
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    empty.load_state_dict(real.state_dict())
    with torch.no_grad():
        x = arch.example_input(spec)
        assert torch.equal(real.eval()(x), empty.eval()(x))


@every_network
def test_logits_alone_are_answered_and_every_parameter_learns(name):
    spec = spec_of(name)
    network = arch.build(spec, seed=0)
    for is_training in (False, True):
        logits = network.train(is_training)(arch.example_input(spec))
        assert isinstance(logits, torch.Tensor)
        assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


@every_network
def test_layers_are_seen_with_their_roles_and_deviations(name):
    spec = spec_of(name)
    table, model = table_of(spec), arch.build(spec, seed=0)
    layers = {layer.name: layer for layer in table.layers}
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert table.dense == sum(p.numel() for p in trained.values())
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert f"{path}.weight" in layers
    roles = [layer.role for layer in table.layers]
    assert (roles[0], roles[-1]) == ("stem", "classifier")
    assert table.layers[-1].shape[0] == 7
    for layer in table.layers:
        weight = trained[layer.name]
        if layer.size > 2000 and weight.std() > 0:
            wanted = layer.deviation or (2 / weight[0].numel()) ** 0.5
            assert weight.std().item() == pytest.approx(wanted, rel=0.15), layer.name


@every_network
def test_one_channel_changes_the_stem_alone(name):
    usual, grey = table_of(spec_of(name)), table_of(spec_of(name, input_channels=1))
    assert grey.layers[0].shape[1] == 1
    assert [la.shape for la in grey.layers[1:]] == [la.shape for la in usual.layers[1:]]
    spec = spec_of(name, input_channels=1)
    assert arch.build(spec).eval()(arch.example_input(spec)).shape == (2, 7)


@every_network
def test_shared_at_half_the_size_it_is_saved_and_loaded_to_the_bit(name, tmp_path):
    spec = spec_of(name)
    plan = npas.plan(spec, budget=BudgetSpec(fraction=0.5))
    model = npas.share(arch.build(spec, seed=0), plan)
    path, images = tmp_path / "a.safetensors", arch.example_input(spec)
    npas.save(model, path)
    with torch.no_grad():
        assert torch.equal(npas.load(path)(images), model.eval()(images))


def test_network_that_was_trained_before_it_is_saved_is_what_its_plan_says(tmp_path):
    spec = spec_of("hf:swin", size=30, input_channels=1)  # 8 patches a side, then 4: one window
    model = npas.share(arch.build(spec, seed=0), npas.plan(spec, budget=BudgetSpec(fraction=0.6)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model(arch.example_input(spec)).square().mean().backward()
    optimizer.step()
    path, images = tmp_path / "a.safetensors", arch.example_input(spec)
    npas.save(model, path)
    with torch.no_grad():
        assert torch.equal(npas.load(path)(images), model.eval()(images))


@pytest.mark.parametrize("size", [28, 32, 52, 60])
def test_windows_are_clamped_as_a_first_run_clamps_them(size):
    spec = spec_of("hf:swin", size=size)
    network = arch.build(spec, seed=0).eval()
    blocks = [block for stage in network.swin.encoder.layers for block in stage.blocks]
    built = [(block.window_size, block.shift_size) for block in blocks]
    for number, block in enumerate(blocks):
        block.window_size, block.shift_size = 4, number % 2 * 2
    network(arch.example_input(spec))
    assert [(block.window_size, block.shift_size) for block in blocks] == built
    assert built[1] == (4, 2)


def test_whole_numbers_stay_whole_where_a_field_is_one():
    options = SMALL["hf:dinov2"] | {"mlp_ratio": 2}
    spec = ArchitectureSpec(name="hf:dinov2", input_size=32, options=options)
    layers = {layer.name: layer.shape for layer in table_of(arch.resolve(spec)).layers}
    assert layers["dinov2.encoder.layer.0.mlp.fc1.weight"] == (64, 32)


def test_timms_own_names_and_numbers_are_kept():
    ours = npas.build("timm:test_resnet", seed=3)
    torch.manual_seed(3)
    theirs = timm.create_model("test_resnet", num_classes=1000)
    assert all(torch.equal(theirs.state_dict()[k], v) for k, v in ours.state_dict().items())


def test_transformers_own_names_and_answers_are_kept():
    spec = spec_of("hf:vit")
    ours = arch.build(spec, seed=3).eval()
    config = transformers.ViTConfig(image_size=32, num_labels=7, **SMALL["hf:vit"])
    theirs = transformers.ViTForImageClassification(config).eval()
    theirs.load_state_dict(ours.state_dict())
    images = arch.example_input(spec)
    with torch.no_grad():
        assert torch.equal(theirs(images).logits, ours(images))


def test_small_stem_keeps_the_size_of_images():
    usual, small = (
        arch.build(ArchitectureSpec(name="timm:resnet18", options={"stem": stem})).eval()
        for stem in ("usual", "small")
    )
    x = torch.zeros(1, 3, 32, 32)
    assert usual.forward_features(x).shape[-1] == 1
    assert small.forward_features(x).shape[-1] == 4
    assert described(usual.state_dict()) == described(small.state_dict())
    patches = arch.build(ArchitectureSpec(name="timm:test_convnext", options={"stem": "small"}))
    patches.eval()
    assert patches.forward_features(x).shape[-1] == 4


@pytest.mark.parametrize(
    ("architecture", "field", "message"),
    [
        ({"name": "timm:resnet_50"}, "name", "timm:resnet50"),
        ({"name": "hf:vitt"}, "name", "hf:vit"),
        ({"name": "hf:imagegpt"}, "name", "reads colours as tokens"),
        ({"name": "timm:test_resnet", "options": {"patch_size": 2}}, "", "patch_size"),
        ({"name": "timm:test_vit", "options": {"stem": "small"}}, "options/stem", "patch_size"),
        ({"name": "hf:vit", "options": {"depths": "1,2"}}, "options/depths", "it has hidden_size"),
        ({"name": "hf:resnet", "options": {"depths": 3}}, "options/depths", "a list in text"),
        ({"name": "hf:vit", "options": {"patch_size": "8,8"}}, "options/patch_size", "a number"),
        (
            {"name": "hf:dinov2", "options": {"mlp_ratio": 2.5}},
            "options/mlp_ratio",
            "whole number",
        ),
        ({"name": "hf:resnet", "options": {"layer_type": "wide"}}, "", "layer_type=wide"),
        ({"name": "hf:swin", "options": {"num_heads": "5,5,5,5"}}, "options", "do not suit"),
        ({"name": "hf:resnet", "options": {"depths": "2,x"}}, "options/depths", "depths"),
        ({"name": "hf:textnet", "input_channels": 1}, "input_channels", "3 channels"),
        ({"name": "hf:vit", "input_size": 4}, "input_size", "images of 4 pixels"),
    ],
)
def test_what_a_network_cannot_be_is_refused_with_its_place(architecture, field, message):
    with pytest.raises((InvalidSpecError, UnknownNameError), match=message) as caught:
        npas.plan(ArchitectureSpec.model_validate(architecture), budget=BudgetSpec(fraction=0.5))
    assert caught.value.field == f"/architecture/{field}".rstrip("/")


def test_fields_of_configurations_are_those_that_some_type_has():
    configurations = [
        getattr(made, "vision_config", made)
        for made in (transformers.CONFIG_MAPPING[kind]() for kind in hf.TYPES)
    ]
    for name in FIELDS:
        lists = {
            isinstance(getattr(c, name), list | tuple) for c in configurations if hasattr(c, name)
        }
        assert lists, name
        takes_text = '"string"' in json.dumps(FIELDS[name])
        assert not takes_text or True in lists or name == "layer_type", name


def test_nothing_is_asked_of_the_network(monkeypatch):
    def refused(*_):
        raise AssertionError("a connection is opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    for name in ("timm:vit_tiny_patch16_224", "hf:mobilevit"):
        npas.plan(name, budget=BudgetSpec(fraction=0.5))


def test_libraries_are_imported_only_where_a_name_asks_for_them():
    program = (
        "import sys, npas\n"
        "from npas import arch\n"
        "npas.plan('resnet-8', budget={'fraction': 0.5})\n"
        "names = [name for family in arch.catalogue() for name in family['names']]\n"
        "assert 'timm:resnet50' in names and 'hf:vit' in names and len(names) < 500\n"
        "assert not {'timm', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
