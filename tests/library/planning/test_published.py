"""Sizes that the founding papers print, or that follow from their code to the last parameter."""

import npas
import pytest
from npas.spec import ArchitectureSpec, NetworkSpec

MILLION = 1_000_000

SOFT_SHARING = [
    *(("wrn-28-10", 1, 12.29), ("wrn-28-10", 2, 17.13), ("wrn-28-10", 4, 26.80)),
    *(("wrn-28-10", 6, 36.48), ("wrn-28-14", 1, 24.05), ("wrn-28-14", 2, 33.54)),
    *(("wrn-28-18", 2, 55.41), ("wrn-28-6", 2, 6.18), ("wrn-28-4", 2, 2.75)),
    ("wrn-40-8", 8, 29.56),
]
"""Savarese & Maire, ICLR 2019: network, templates, parameters in millions with 10 classes."""

DENSE = [
    *(("wrn-28-14", 10, 71.47), ("wrn-28-18", 10, 118.12), ("wrn-40-8", 10, 35.75)),
    *(("wrn-28-7", 100, 17.93), ("wrn-28-4", 100, 5.87), ("wrn-28-3", 100, 3.31)),
    *(("wrn-16-7", 100, 8.44), ("wrn-16-4", 100, 2.77), ("wrn-40-4", 100, 8.97)),
]

EXACT = [
    ("wrn-28-10", 10, 36_479_194),
    ("wrn-28-10", 100, 36_536_884),
    ("torchvision:resnet50", 1000, 25_557_032),
    ("torchvision:vit_b_16", 1000, 86_567_656),
    ("torchvision:convnext_tiny", 1000, 28_589_128),
    ("torchvision:densenet121", 1000, 7_978_856),
]

SMALL_IMAGES = [
    *(("resnext-29-8x64", {}, 34.4), ("resnext-29-16x64", {}, 68.1)),
    *(("densenet-40-12", {}, 1.0), ("densenet-100-12", {}, 7.0), ("densenet-100-24", {}, 27.2)),
    ("densenet-100-12", {"bottleneck": True}, 0.8),
    ("densenet-250-24", {"bottleneck": True}, 15.3),
    ("densenet-190-40", {"bottleneck": True}, 25.6),
]
"""Xie et al., table 7, and Huang et al., table 2: millions of parameters with 10 classes."""


def rounded(parameters):
    return round(parameters / MILLION, 2)


@pytest.mark.parametrize(("name", "templates", "millions"), SOFT_SHARING)
def test_soft_sharing_has_the_published_size(name, templates, millions):
    plan = npas.plan(name, method="soft_sharing", templates=templates)
    assert rounded(plan.ledger.total) == millions
    assert len(plan.groups) == 3
    depth = int(name.split("-")[1])
    for group in plan.groups:
        assert len(group.slots) == (depth - 4) // 3 - 2
        assert group.banks[0].templates == templates


@pytest.mark.parametrize(("name", "templates", "millions"), SOFT_SHARING)
def test_soft_sharing_is_given_the_published_size_and_finds_its_templates(
    name, templates, millions
):
    plan = npas.plan(name, method="soft_sharing", templates=templates)
    found = npas.plan(name, method="soft_sharing", budget=plan.ledger.total)
    assert [group.banks[0].templates for group in found.groups] == [templates] * 3
    assert rounded(found.ledger.budget) == millions


@pytest.mark.parametrize(("name", "classes", "millions"), DENSE)
def test_dense_has_the_published_size(name, classes, millions):
    spec = ArchitectureSpec(name=name, num_classes=classes)
    assert rounded(npas.plan(spec, method="dense").ledger.total) == millions


@pytest.mark.parametrize(("name", "classes", "parameters"), EXACT)
def test_dense_has_the_exact_size(name, classes, parameters):
    spec = ArchitectureSpec(name=name, num_classes=classes)
    assert npas.plan(spec, method="dense").ledger.total == parameters


@pytest.mark.parametrize(("name", "options", "millions"), SMALL_IMAGES)
def test_dense_has_the_size_of_its_paper(name, options, millions):
    spec = ArchitectureSpec(name=name, options=options)
    found = npas.plan(spec, method="dense").ledger.total / MILLION
    assert abs(found - millions) < 0.06, "printed with one digit, rounded or cut off"


def test_wrn_28_10_has_the_published_norms():
    """17,952 parameters of normalisation, the classifier's bias beside them."""
    plan = npas.plan("wrn-28-10", method="dense", budget=36_479_194)
    weights = sum(
        shape[0] * shape[1] * (shape[2] * shape[3] if len(shape) == 4 else 1)
        for shape in (layer.shape for layer in plan.private)
    )
    assert plan.ledger.dense - weights == 17_952 + 10


@pytest.mark.parametrize(
    ("widths", "depths", "millions"),
    [((7, 4), (28, 16), 35.01), ((7, 4, 3), (28,), 27.11)],
)
def test_superweights_ensembles_have_the_published_size_unshared(widths, depths, millions):
    networks = [
        NetworkSpec(
            name=f"{depth}-{width}",
            architecture=ArchitectureSpec(name=f"wrn-{depth}-{width}", num_classes=100),
        )
        for depth in depths
        for width in widths
    ]
    shared = npas.plan(networks, budget=18 * MILLION)
    assert abs(shared.ledger.dense / MILLION - millions) < 0.011
    assert shared.ledger.total <= 18 * MILLION


def test_superweights_blocks_have_the_published_sizes():
    """WRN-28-10, first bin of 3x3 layers: pieces of 432, 22,608 and 207,360 scalars."""
    plan = npas.plan(
        "wrn-28-10",
        budget=9 * MILLION,
        method="superweights",
        bins=4,
        stage="search",
        blocks="nest",
    )
    first = next(
        group for group in plan.groups if any(slot.layer == "conv.weight" for slot in group.slots)
    )
    assert [bank.size for bank in first.banks][:3] == [432, 22_608, 207_360]
