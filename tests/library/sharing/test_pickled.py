"""A shared network that went through pickle composes anew: its old weights prove nothing."""

import io

import npas
import torch


def test_pickled_network_composes_what_its_banks_make():
    network = npas.share(
        npas.build("resnet-8", seed=1), npas.plan("resnet-8", budget={"fraction": 0.5})
    ).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = network(x)
        assert all(group._composed is not None for group in network.groups.values())
        file = io.BytesIO()
        torch.save(network, file)
        file.seek(0)
        again = torch.load(file, weights_only=False)
        assert all(group._composed is None for group in again.groups.values())
        assert torch.equal(again(x), before)
