"""Shared and saved is only what a plan's architecture builds; files give that back."""

import copy
import functools

import npas
import numpy as np
import pytest
import torch
from npas.errors import PlanError
from npas.sharing.likeness import likeness
from torch import nn
from torch.nn import functional


def scaled(by):
    return lambda x: by * x


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


def test_share_refuses_an_activation_left_out():
    network = npas.build("torchvision:mobilenet_v2", seed=1)
    parent, attribute, path = parts(network, nn.ReLU6)[0]
    delattr(parent, attribute)
    with pytest.raises(PlanError, match=f"{path.rpartition('.')[0]} lacks the child {attribute};"):
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
    return "ResNet has a child too many, extra; take"


def children_in_another_order(network):
    first, *others = network._modules.items()
    network._modules = dict([*others, first])
    return f"ResNet has its children in another order: {others[0][0]}, "


def other_shape(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[0]
    getattr(parent, attribute).register_buffer("running_var", torch.ones(1))
    return f"{path} has a buffer running_var of shape .1,., not shape .16,."


def number_of_numpy(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[0]
    getattr(parent, attribute).eps = np.float64(1e-3)
    return f"{path} has eps 0.001, not 1e-05"


def tensor_for_a_number(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[0]
    getattr(parent, attribute).momentum = torch.tensor(0.5)
    return f"{path} has momentum a tensor of shape .., not 0.1"


def object_for_a_number(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[0]
    getattr(parent, attribute).momentum = object()
    return f"{path} has momentum <object object.*, not 0.1"


def setting_missing(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[0]
    del getattr(parent, attribute).momentum
    return f"{path} lacks momentum, which is 0.1"


def function_of_its_own(network):
    network.act = torch.relu
    return "ResNet has a act of its own, torch.relu; take"


def lambda_for_a_method(network):
    parent, attribute, path = parts(network, nn.BatchNorm2d)[0]
    getattr(parent, attribute).forward = lambda x: x.sigmoid()
    return f"{path} has a forward of its own, a lambda of .*test_structure; take"


def setting_of_the_class_hidden(network):
    parent, attribute, path = parts(network, nn.Conv2d)[0]
    getattr(parent, attribute).dump_patches = True
    return f"{path} has a dump_patches of its own, True"


def other_class(network):
    network.__class__ = type("Other", (type(network),), {})
    return "is Other, not"


EDITS = [
    *(other_eps, other_stride, other_forward, other_class, other_shape),
    *(one_module_more, children_in_another_order),
    *(number_of_numpy, tensor_for_a_number, object_for_a_number, setting_missing),
    *(function_of_its_own, lambda_for_a_method, setting_of_the_class_hidden),
]


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
        if isinstance(module, nn.BatchNorm2d):
            module.eps = np.float64(module.eps)
    network.notes = "mine"
    network.statistics = torch.zeros(3)
    network.register_forward_hook(lambda *_: None)
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    model = npas.share(synchronised, plan_for("resnet-8"), seed=1).eval()
    npas.save(model, tmp_path / "model")
    loaded = npas.load(tmp_path / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functional.max_pool2d, functional.max_pool1d),
        (functools.partial(nn.BatchNorm2d, eps=1e-3), functools.partial(nn.BatchNorm2d, eps=1e-5)),
        (scaled(2), scaled(3)),
        (np.float32(2), 3),
        (np.arange(3), np.arange(1, 4)),
        ([1, {"a": 2}], [1, {"a": 3}]),
        (torch.zeros(3), torch.zeros(4)),
        (nn.ReLU().forward, nn.GELU().forward),
        (torch.ops.aten.relu, torch.ops.aten.gelu),
    ],
)
def test_settings_are_alike_if_they_do_the_same(one, other):
    assert likeness(one) == likeness(copy.deepcopy(one))
    assert likeness(one) != likeness(other)
    assert likeness(one) != likeness("a word")


def test_a_setting_that_holds_itself_is_compared():
    one, other = [1], [1]
    one.append(one)
    other.append(other)
    assert likeness(one) == likeness(other) != likeness([1, 1])


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
