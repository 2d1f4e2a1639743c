"""Small networks whose statistics and weights are no longer those of a fresh one."""

import npas
import pytest
import torch


@pytest.fixture(scope="session")
def network():
    """Return a function that makes a shared network for a method and a budget."""

    def made(method="soft_sharing", budget=None, architecture="resnet-8"):
        plan = npas.plan(architecture, budget=budget, method=method)
        model = npas.share(npas.build(plan.networks[0].architecture, seed=1), plan, seed=2)
        generator = torch.Generator().manual_seed(3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        x = torch.randn(4, 3, 32, 32, generator=generator)
        model.train()(x).square().mean().backward()
        optimizer.step()
        return model.eval()

    return made
