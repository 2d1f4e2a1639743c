"""Some networks of several are run: what they are made of gets gradients, and nothing else."""

import npas
import pytest
import torch
from npas.errors import UnknownNameError
from npas.spec import PlanRequest

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

SEVERAL = {
    "networks": [
        {"name": name, "architecture": {"name": kind, "input_size": 8}}
        for name, kind in (("a", "resnet-8"), ("b", "resnet-8"), ("c", "wrn-10-2"))
    ],
    "budget": {"fraction": 0.6},
}


@pytest.mark.parametrize("method", ["superweights", "block_mix", "uniform", "ssn"])
@pytest.mark.parametrize("names", [("a",), ("b", "c")])
def test_only_what_the_networks_that_ran_are_made_of_gets_a_gradient(method, names):
    """Truth: what moves a network's plain weights when it is changed."""
    plan = npas.plan(PlanRequest.model_validate({**SEVERAL, "method": method}))
    networks = {n.name: npas.build(n.architecture, seed=2) for n in plan.networks}
    model = npas.share(networks, plan, seed=2).eval()
    logits = model.members(X, names)
    assert tuple(logits) == names
    sum(each.sum() for each in logits.values()).backward()

    def weights():
        plain = model.materialise()
        return [p.detach().clone() for name in names for p in plain[name].parameters()]

    before = weights()
    found = {}
    for name, parameter in model.named_parameters():
        if name.startswith("groups."):
            old = parameter.detach().clone()
            with torch.no_grad():
                parameter.add_(1)
            is_read = not all(map(torch.equal, weights(), before))
            with torch.no_grad():
                parameter.copy_(old)
            found[name] = is_read
            assert (parameter.grad is not None) == is_read, name
    assert any(found.values())
    if names == ("a",) and method in ("superweights", "uniform"):
        assert not all(found.values())
    for name, each in zip("abc", model.networks, strict=True):
        assert all((p.grad is not None) == (name in names) for p in each.parameters())


def test_each_network_may_have_inputs_of_its_own():
    plan = npas.plan("resnet-8", budget=50_000, method="ssn")
    model = npas.share(npas.build("resnet-8"), plan).eval()
    own = model.members({"main": X}, ["main"])
    assert torch.equal(own["main"], model.members(X)["main"])
    with pytest.raises(UnknownNameError):
        model.members(X, ["other"])
