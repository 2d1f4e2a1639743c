"""Multiply-adds of layers: as many as the formula of a convolution says, none where none runs."""

import npas
import pytest
from npas import arch
from npas.arch import uses
from npas.arch.costs import running_cost
from torch import nn


@pytest.mark.parametrize("network", ["wrn-16-1", "resnext-29-2x16", "tiny-24-4"])
def test_a_convolution_uses_each_scalar_once_for_each_place_of_its_output(network):
    networks = npas.plan(network, dataset="cifar10").networks
    table = uses.counted(arch.layer_table(networks), networks)
    places = {layer.name: layer.macs / layer.size for layer in table.layers}
    assert set(places.values()) <= {1.0, 64.0, 256.0, 1024.0}  # 32, 16, 8 pixels; the classifier
    assert places[table.layers[0].name] == 1024
    assert places[table.layers[-1].name] == 1
    total = sum(layer.macs for layer in table.layers)
    assert total == running_cost(networks[0].architecture).macs


def test_attention_counts_with_all_that_its_module_does():
    networks = npas.plan("vit-4-48-2", dataset="cifar10").networks
    table = uses.counted(arch.layer_table(networks), networks)
    first = [layer.macs for layer in table.layers if layer.name.startswith("layers.0.attention")]
    assert len(first) == 2
    assert first[0] == first[1] > 0


def test_layers_of_several_networks_are_told_apart():
    networks = tuple(
        npas.spec.NetworkSpec(name=name, architecture=each.architecture)
        for name, size in (("small", 8), ("large", 16))
        for each in npas.plan(
            {"name": "resnet-8", "input_channels": 1, "input_size": size, "num_classes": 10}
        ).networks
    )
    table = uses.counted(arch.layer_table(networks), networks)
    by_network = {
        name: [la.macs for la in table.layers if la.network == name] for name in ("small", "large")
    }
    assert [4 * macs for macs in by_network["small"][:-1]] == by_network["large"][:-1]


def test_nothing_is_counted_of_a_module_or_of_what_cannot_run_without_memory(monkeypatch):
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    networks = npas.plan(module).networks
    table = arch.layer_table(networks)
    assert uses.counted(table, networks) == table

    def refused(spec):
        raise NotImplementedError(spec)

    monkeypatch.setattr(uses, "costs", refused)
    networks = npas.plan("resnet-8").networks
    table = arch.layer_table(networks)
    assert uses.counted(table, networks) == table
