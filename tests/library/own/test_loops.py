"""Loops as users write them, on their own module that shares: the same as on any module.

What a loop does to a shared network is compared with the network without what is tried (one
process, one part of a batch, no checkpoints), or with its plain twin from `materialise`.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import npas
import pytest
import torch
import torch._dynamo
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from benchmarks.own_modules import MODULES, CustomLayers

X = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 5


def made(make=CustomLayers, fraction=0.4):
    torch.manual_seed(0)
    module = make()
    plan = npas.plan(module, budget={"fraction": fraction}, example=(X,))
    return npas.share(module, plan, fit=True)


def loss(model, x=X, y=Y):
    return functional.cross_entropy(model(x), y)


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def close(found, wanted, **tolerance):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def test_plain_loop_lowers_the_loss_and_keeps_the_budget():
    model = made()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    before = loss(model).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    assert loss(model).item() < before / 2
    assert sum(p.numel() for p in model.parameters()) == model.plan.ledger.total


def test_gradients_accumulate_over_parts_of_a_batch():
    model = made()
    loss(model).backward()
    wanted = gradients(model)
    model.zero_grad()
    for part in range(4):
        (loss(model, X[part::4], Y[part::4]) / 4).backward()
    close(gradients(model), wanted)


def test_clipping_bounds_the_norm_of_what_is_trained():
    model = made()
    (100 * loss(model)).backward()
    wanted = gradients(model)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    total = torch.stack([each.square().sum() for each in wanted]).sum().sqrt()
    torch.testing.assert_close(norm, total)
    close(gradients(model), [each * (0.5 / total) for each in wanted], rtol=1e-4, atol=1e-6)


def test_average_of_weights_is_that_of_banks():
    model = made().train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wanted = [p.detach().clone() for p in model.parameters()]
    for number in range(3):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
        average.update_parameters(model)
        now = [p.detach() for p in model.parameters()]
        share = 0.9 if number else 0.0
        wanted = [old * share + new * (1 - share) for old, new in zip(wanted, now, strict=True)]
    close(average.parameters(), wanted)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, value in zip(twin.parameters(), wanted, strict=True):
            parameter.copy_(value)
    close([average.eval()(X)], [twin.eval()(X)])


def test_mixed_precision_computes_as_the_plain_module_does():
    model = made()
    plain = model.materialise()["main"]
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = model(X), plain(X)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, wanted)
        functional.cross_entropy(found.float(), Y).backward()
        functional.cross_entropy(wanted.float(), Y).backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
    module = model.network("main")
    for name, parameter in plain.named_parameters():
        if name in dict(module.named_parameters()):
            torch.testing.assert_close(module.get_parameter(name).grad, parameter.grad)


def test_two_processes_train_as_one_does(tmp_path):
    torch.save((X, Y), tmp_path / "data.pt")
    script = Path(__file__).with_name("other_process.py")
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "error", script, str(rank), tmp_path],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    for rank in range(2):
        found = npas.load(tmp_path / f"{rank}.safetensors", into=CustomLayers())
        close(found.parameters(), model.parameters())


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which the compiler itself reads
def test_compiled_module_follows_every_step():
    torch._dynamo.reset()
    model = made()
    naive = copy.deepcopy(model)
    compiled = torch.compile(model, backend="eager")
    pairs = [
        (each, torch.optim.SGD(inner.parameters(), lr=0.1))
        for each, inner in ((compiled, model), (naive, naive))
    ]
    for _ in range(3):
        losses = []
        for each, optimizer in pairs:
            optimizer.zero_grad()
            losses.append(loss(each))
            losses[-1].backward()
            optimizer.step()
        close([losses[0]], [losses[1]])
    close(model.parameters(), naive.parameters())


class Checkpointed(CustomLayers):
    """Computes its body anew in the backward pass."""

    def forward(self, x):
        x = self.gated(x)
        for layer in self.body:
            x = torch.tanh(checkpoint(layer, x, use_reentrant=False))
        return self.head(x) * self.temperature


def test_checkpointed_activations_give_the_same_gradients():
    plain, saving = made(), made(Checkpointed)
    for model in (plain, saving):
        loss(model).backward()
    close(gradients(saving), gradients(plain), rtol=0, atol=0)


def test_several_inputs_by_position_and_by_name_reach_the_module():
    make, example = MODULES["two-inputs"]
    module, given = make(), example()
    model = npas.share(module, npas.plan(module, budget={"fraction": 0.6}, example=given))
    by_name = model(**given)
    assert torch.equal(model(given["image"], rows=given["rows"]), by_name)
    assert torch.equal(model.materialise()["main"](**given), by_name)
