"""Shared networks inside what PyTorch wraps around networks."""

import npas
import pytest
import torch
import torch.distributed
from npas.errors import InvalidSpecError
from torch import nn
from torch.nn.parallel import DistributedDataParallel

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    plan = npas.plan("resnet-8", method="superweights", budget=50_000)
    return npas.share(npas.build("resnet-8", seed=1), plan, seed=1)


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_wrapped_network_is_refused_with_the_way_to_it(model, tmp_path):
    wrapped = {
        r"\.module": DistributedDataParallel(model),
        r"\._orig_mod": torch.compile(model, backend="eager"),
        r"\.module\._orig_mod": nn.DataParallel(torch.compile(model, backend="eager")),
    }
    for path, wrapper in wrapped.items():
        with pytest.raises(InvalidSpecError, match=f"not a shared network; give its {path}$"):
            npas.save(wrapper, tmp_path / "model.safetensors")
    npas.save(wrapped[r"\.module"].module, tmp_path / "model.safetensors")
    loaded = npas.load(tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(X), model.eval()(X))


@pytest.mark.usefixtures("group")
def test_distributed_network_trains_as_the_network_does(model):
    model.eval()(X).square().mean().backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    DistributedDataParallel(model)(X).square().mean().backward()
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_replicas_for_data_parallel_are_refused_with_advice(model):
    """DataParallel asks every module of a network for its replicas, once for each device."""
    with pytest.raises(InvalidSpecError, match="DistributedDataParallel, one process for each"):
        nn.Sequential(model).get_submodule("0")._replicate_for_data_parallel()
    replicas = [m._replicate_for_data_parallel() for m in model.materialise()["main"].modules()]
    assert len(replicas) > 1
