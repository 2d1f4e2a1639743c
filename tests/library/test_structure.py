"""Shared and saved is only what a plan's architecture builds; files give that back."""

import functools

import npas
import pytest
import torch
from npas.errors import PlanError
from torch import nn


@functools.cache
def plan_for(name, method="superweights"):
    return npas.plan(name, budget={"fraction": 0.6}, method=method)


def shared(name="resnet-8"):
    return npas.share(npas.build(name, seed=1), plan_for(name), seed=1)


def outputs(model, size=32):
    with torch.no_grad():
        return model(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


def parts(network, kind):
    """Return (parent, attribute, path) of every module of a class."""
    found = []
    for path, module in network.named_modules():
        if isinstance(module, kind):
            parent, _, attribute = path.rpartition(".")
            found.append((network.get_submodule(parent), attribute, path))
    assert found
    return found


def test_share_refuses_another_activation():
    network = npas.build("torchvision:mobilenet_v2", seed=1)
    for parent, attribute, _ in parts(network, nn.ReLU6):
        setattr(parent, attribute, nn.GELU())
    first = parts(network, nn.GELU)[0][2]
    with pytest.raises(PlanError, match=f"{first} is GELU, not ReLU6"):
        npas.share(network, plan_for("torchvision:mobilenet_v2"))


def other_eps(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[-1]
    getattr(parent, attribute).eps = 1e-3
    return f"{path} has eps 0.001, not 1e-05"


def other_stride(network):
    parent, attribute, path = parts(network, nn.Conv2d)[-1]
    getattr(parent, attribute).stride = (1, 2)
    return f"{path} has stride .1, 2., not .1, 1."


def other_forward(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[0]
    getattr(parent, attribute).forward = torch.tanh
    return f"{path} has a forward of its own"


def one_module_more(network):
    network.extra = nn.Tanh()
    return "ResNet has children .*'extra'"


def other_class(network):
    network.__class__ = type("Other", (type(network),), {})
    return "is Other, not"


EDITS = [other_eps, other_stride, other_forward, one_module_more, other_class]


@pytest.mark.parametrize("edit", EDITS)
def test_share_refuses_what_the_architecture_does_not_build(edit):
    network = npas.build("resnet-8", seed=1)
    told = edit(network)
    with pytest.raises(PlanError, match=told):
        npas.share(network, plan_for("resnet-8"))


@pytest.mark.parametrize("edit", EDITS)
def test_save_refuses_what_was_changed_after_share(edit, tmp_path):
    model = shared()
    told = edit(model.networks[0])
    with pytest.raises(PlanError, match=told):
        npas.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def head_of_other_classes(model):
    parent, attribute, path = parts(model.networks[0], nn.Linear)[-1]
    setattr(parent, attribute, nn.Linear(getattr(parent, attribute).in_features, 5))
    return path


def head_without_bank(model):
    parent, attribute, path = parts(model.networks[0], nn.Linear)[-1]
    old = getattr(parent, attribute)
    setattr(parent, attribute, nn.Linear(old.in_features, old.out_features, bias=False))
    return path


def weight_instead_of_the_bank(model):
    slot = model.plan.groups[0].slots[0]
    path, _, attribute = slot.layer.rpartition(".")
    module = model.networks[0].get_submodule(path)
    module.__dict__.pop(attribute, None)
    module.register_parameter(attribute, nn.Parameter(torch.zeros(slot.shape)))
    return path


def bank_of_another_size(model):
    model.groups["g0"].templates[0] = nn.Parameter(torch.zeros(1, 1))
    return "groups.g0.templates.0"


@pytest.mark.parametrize(
    "change",
    [head_of_other_classes, head_without_bank, weight_instead_of_the_bank, bank_of_another_size],
)
def test_save_refuses_replaced_parts_by_name(change, tmp_path):
    model = shared()
    told = change(model)
    with pytest.raises(PlanError, match=told):
        npas.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_weights_statistics_and_harmless_settings_are_the_users(tmp_path):
    network = npas.build("resnet-8", seed=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)
        for buffer in network.buffers():
            buffer.add_(1)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    network.notes = "mine"
    network.register_forward_hook(lambda *_: None)
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    model = npas.share(synchronised, plan_for("resnet-8"), seed=1).eval()
    npas.save(model, tmp_path / "model")
    loaded = npas.load(tmp_path / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize(
    "name",
    ["wrn-16-1", "densenet-22-12", "vit-2-32-8"],
)
def test_a_network_used_for_a_while_is_still_what_was_built(name, tmp_path):
    spec = plan_for(name).networks[0].architecture
    model = npas.share(npas.build(spec, seed=1), plan_for(name), seed=1)
    size = spec.input_size
    model.train()(torch.randn(2, 3, size, size)).sum().backward()
    again = model.regroup(plan_for(name)).double().float().eval()
    npas.save(again, tmp_path / "model")
    assert torch.equal(outputs(npas.load(tmp_path / "model"), size), outputs(again, size))
