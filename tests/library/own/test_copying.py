"""Modules that hold what cannot be copied are refused by what needs a copy, with its name."""

import threading

import npas
import pytest
import torch
from npas.arch.own.copying import copied
from npas.errors import InvalidSpecError
from torch import nn

X = torch.randn(3, 6)


class Locked(nn.Linear):
    def __init__(self):
        super().__init__(6, 6)
        self.lock = threading.Lock()


def net():
    return nn.Sequential(nn.Linear(6, 6), Locked(), nn.Linear(6, 6))


def test_what_cannot_be_copied_is_named_where_a_copy_is_needed(tmp_path):
    plan = npas.plan(net(), budget={"fraction": 0.6})
    model, path = npas.share(net(), plan), tmp_path / "net.safetensors"
    npas.save(model, path)
    calls = (
        lambda: npas.convert(net(), plan, [X]),
        lambda: npas.load(path, into=net(), materialise=True),
        lambda: model.regroup(plan),
        lambda: npas.export(model, tmp_path / "net.pt2", to="torch_export", example=X),
        lambda: npas.export(net(), tmp_path / "net.pt2", to="torch_export", example=X),
    )
    for call in calls:
        with pytest.raises(InvalidSpecError, match=r"cannot be copied.* Locked\.lock raises Type"):
            call()
    assert torch.equal(npas.load(path, into=net())(X), model.eval()(X))


def test_copies_of_several_modules_share_what_these_do():
    one = nn.Linear(2, 2)
    pair = copied({"a": one, "b": nn.Sequential(one)})
    assert pair["a"] is pair["b"][0]
    assert pair["a"] is not one


def test_lack_of_memory_is_not_taken_for_the_modules_fault():
    class Large(nn.Linear):
        def __deepcopy__(self, memo):
            raise MemoryError

    with pytest.raises(MemoryError):
        copied(Large(2, 2))
