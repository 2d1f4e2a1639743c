"""What is relied on of PyTorch without a public name for it."""

import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from npas import torch_internals as internals
from torch import nn

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False),
    "foreach": lambda p: torch.optim.SGD(p, lr=0.1, foreach=True),
    "fused": lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    "fused adam": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "fused adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
    "with a closure": lambda p: torch.optim.LBFGS(p, lr=0.1),
}


def stepped(optimizer, parameter):
    def closure():
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_changes_sees_every_optimisers_step(name):
    parameter, other = (nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer, of_other = (OPTIMIZERS[name]([each]) for each in (parameter, other))
    before = internals.changes(parameter)
    assert internals.changes(parameter) == before
    stepped(of_other, other)
    assert internals.changes(parameter) == before
    seen = {before}
    for _ in range(3):
        stepped(optimizer, parameter)
        seen.add(internals.changes(parameter))
    assert len(seen) == 4


def test_changes_sees_writes_in_place_and_trusts_no_inference_tensor():
    parameter = nn.Parameter(torch.ones(3))
    before = internals.changes(parameter)
    with torch.no_grad():
        parameter[0] = 5
    assert internals.changes(parameter) != before
    with torch.inference_mode():
        blind = torch.ones(3)
    assert internals.changes(blind) != internals.changes(blind)


@pytest.mark.slow
def test_optimisers_are_left_alone_until_a_group_is_used():
    """And those of networks that share nothing always: nothing is hung on their parameters."""
    code = """
import torch, npas
from torch.optim.optimizer import _global_optimizer_post_hooks as hooks
plain = npas.build("resnet-8")
model = npas.share(npas.build("resnet-8"), npas.plan("resnet-8", budget=50_000))
assert not hooks, hooks
model(torch.zeros(2, 3, 32, 32))
assert len(hooks) == 1, hooks
optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
plain(torch.zeros(2, 3, 32, 32)).sum().backward()
optimizer.step()
assert not any(vars(p) for p in plain.parameters())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version_counts_writes_through_views():
    tensor = torch.zeros(4)
    before = internals.version(tensor)
    tensor.view(2, 2)[0] = 1
    assert internals.version(tensor) == before + 1


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_storage_number_is_of_the_memory(device):
    one, other = torch.zeros(4, device=device), torch.zeros(4, device=device)
    numbers = [internals.storage_number(t.untyped_storage()) for t in (one, one.view(2, 2), other)]
    assert numbers[0] == numbers[1] != numbers[2]


def test_parts_of_a_module_are_the_dictionaries_themselves():
    module = nn.BatchNorm1d(3)
    assert set(internals.parameters_of(module)) == {"weight", "bias"}
    assert "running_mean" in internals.buffers_of(module)
    del internals.parameters_of(module)["weight"]
    module.weight = torch.ones(3)  # a plain tensor in its place
    assert [name for name, _ in module.named_parameters()] == ["bias"]
    sequence = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert list(internals.children_of(sequence)) == ["0", "1"]
    internals.replace_children(sequence, {"0": sequence[1]})
    assert isinstance(sequence(torch.zeros(1)), torch.Tensor)
    assert len(sequence) == 1


def test_recurrent_kernels_see_a_weight_once_it_is_shown():
    layer = nn.LSTM(2, 3)
    x = torch.ones(4, 1, 2)
    before, _ = layer(x)
    weight = internals.parameters_of(layer).pop("weight_ih_l0")
    layer.__dict__["weight_ih_l0"] = weight.detach() * 2
    internals.show_weights_to_kernels(layer)
    after, _ = layer(x)
    assert not torch.equal(before, after)


def test_batch_norms_are_of_one_class_each():
    assert issubclass(nn.BatchNorm2d, internals.BATCH_NORM)
    assert issubclass(nn.SyncBatchNorm, internals.BATCH_NORM)
    assert not issubclass(nn.InstanceNorm2d, internals.BATCH_NORM)
    assert issubclass(nn.InstanceNorm2d, internals.NORM_WITH_STATISTICS)


@pytest.mark.slow
def test_compiled_modules_hold_what_they_were_made_of():
    module = nn.Linear(2, 2)
    assert getattr(torch.compile(module), internals.COMPILED) is module
    before = set(vars(module))
    module.compile()
    assert set(vars(module)) - before <= internals.NOTES_OF_COMPILE


def test_state_dicts_can_say_of_which_versions_their_modules_were():
    model = nn.Sequential(nn.BatchNorm1d(2))
    state = OrderedDict(model.state_dict().items())
    assert not hasattr(state, "_metadata")
    internals.set_versions_of_modules(state, internals.versions_of_modules(model))
    assert state._metadata["0"]["version"] == nn.BatchNorm1d._version


def test_memory_that_is_used_up_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert internals.lacks_memory(caught.value)
    told = ValueError("what an exporter makes of it")
    told.__cause__ = MemoryError()
    assert internals.lacks_memory(told)
    assert not internals.lacks_memory(RuntimeError("shapes do not fit"))
    assert not internals.lacks_memory(ValueError("allowed are others"))


def test_gradient_hooks_of_both_kinds_are_seen():
    for register in ("register_hook", "register_post_accumulate_grad_hook"):
        parameter = nn.Parameter(torch.ones(3))
        assert not internals.has_gradient_hooks(parameter)
        handle = getattr(parameter, register)(print)
        assert internals.has_gradient_hooks(parameter)
        handle.remove()
        assert not internals.has_gradient_hooks(parameter)


def test_hooks_of_modules_are_seen():
    for kind in ("forward_pre", "forward", "full_backward_pre", "full_backward"):
        module = nn.Linear(2, 2)
        assert not internals.has_hooks(module)
        handle = getattr(module, f"register_{kind}_hook")(print)
        assert internals.has_hooks(module)
        handle.remove()
        assert not internals.has_hooks(module)


def test_what_operations_write_into_is_seen():
    seen = []

    class Seeing(internals.OperationMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.extend(each.data_ptr() for each in internals.written_by(func, args, kwargs or {}))
            return func(*args, **(kwargs or {}))

    target, other = torch.ones(3), torch.ones(3)
    with Seeing():
        target + other
        assert seen == []
        target.add_(other)
        torch.add(other, other, out=target)
        torch._foreach_mul_([target], 2.0)
    assert seen == [target.data_ptr()] * 3
