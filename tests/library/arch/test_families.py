"""What every architecture family promises, by the suite; and what some promise beside."""

import npas
import pytest
from npas import arch
from npas.errors import InvalidSpecError
from npas.spec import ArchitectureSpec
from npas.testing import FAMILY_LAWS, check_family_law

pytestmark = pytest.mark.slow

FAMILIES = arch.known_families()


@pytest.mark.parametrize("law", FAMILY_LAWS)
@pytest.mark.parametrize("name", FAMILIES)
def test_family_keeps_the_law(name, law):
    check_family_law(law, name)


SCALED = [name for name, family in FAMILIES.items() if "scale" in family.Options.model_fields]


@pytest.mark.parametrize("name", SCALED)
def test_narrower_scales_every_channel_count(name):
    family = FAMILIES[name]
    spec = arch.resolve(ArchitectureSpec(name=family.example))
    same, half = (family.narrower(spec, factor) for factor in (1.0, 0.5))
    assert family.narrower(half, 0.5) == family.narrower(spec, 0.25)
    full, halved = npas.build(spec, device="meta"), npas.build(half, device="meta")
    assert full.state_dict().keys() == halved.state_dict().keys()
    assert repr(npas.build(same, device="meta")) == repr(full)
    for (one, wide), narrow in zip(full.named_parameters(), halved.parameters(), strict=True):
        sides = list(zip(narrow.shape, wide.shape, strict=True))
        assert all(less in (side, side / 2) for less, side in sides), one
        assert wide.shape[0] in (1, 2, 10) or narrow.numel() < wide.numel(), one


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", [0.001, 0.03, 0.2, 0.77, 1.3])
def test_network_of_any_scale_runs_and_learns(name, scale):
    spec = arch.resolve(ArchitectureSpec(name=FAMILIES[name].names()[0], options={"scale": scale}))
    network = npas.build(spec)
    network(arch.example_input(spec)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_narrower_mobilenet_has_half_the_width():
    spec = ArchitectureSpec(name="torchvision:mobilenet_v2", options={"width_mult": 1.5})
    narrow = arch.family_of(spec).narrower(spec, 0.5)
    assert narrow.options == {"width_mult": 0.75}


def test_densenet_with_bottlenecks_has_layers_of_two_convolutions():
    spec = ArchitectureSpec(name="densenet-37-12", options={"bottleneck": True})
    assert npas.build("densenet-37-12", device="meta")
    with pytest.raises(InvalidSpecError, match=r"6 n \+ 4.*nearest is densenet-40-12"):
        npas.build(spec)


def test_grid_cnn_has_the_papers_layers():
    layers = arch.layer_table(npas.plan("grid-cnn-20-32", method="dense").networks).layers
    assert [layer.shape for layer in layers] == [
        (32, 2, 1, 1),
        *[(32, 32, 3, 3)] * 20,
        (1, 32, 1, 1),
    ]
    assert [layer.role for layer in layers[1:-1]] == ["body"] * 20


@pytest.mark.parametrize(
    ("network", "dataset", "message"),
    [
        ("wrn-16-1", "shortest-path:2", "such as grid-cnn-20-32"),
        ("grid-cnn-20-32", "digits", "asks an image as a whole"),
        ({"name": "grid-cnn-20-32", "input_size": 16}, "shortest-path", "cells are 32 x 32"),
    ],
)
def test_network_for_another_task_than_the_datasets_is_refused(network, dataset, message):
    with pytest.raises(InvalidSpecError, match=message):
        npas.plan(ArchitectureSpec.model_validate(network), dataset=dataset)
