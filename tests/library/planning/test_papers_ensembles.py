"""The networks that the SuperWeights paper trains together, and families that it does not mix."""

import npas
import pytest
import torch
from npas.sharing.restriction import num_read, restricted
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.testing.counting import check_covers, num_scalars, num_stored

BUDGET = 18_000_000
PAPERS = {
    "28-[7,4] with 16-[7,4]": ["wrn-28-7", "wrn-28-4", "wrn-16-7", "wrn-16-4"],
    "28-[7,4,3]": ["wrn-28-7", "wrn-28-4", "wrn-28-3"],
}
MIXED = {
    "a WRN with a DenseNet": ["wrn-16-2", "densenet-22-12"],
    "a ResNet with a vision transformer": ["resnet-20", "vit-2-64-4"],
    "four families": ["wrn-10-1", "resnet-8", "densenet-10-4", "vit-2-32-4"],
}
METHODS = ["superweights", "block_mix"]


def networks_of(architectures, num_classes):
    return [
        NetworkSpec(
            name=name.replace(":", "-"),
            architecture=ArchitectureSpec(
                name=name, num_classes=num_classes, input_channels=3, input_size=32
            ),
        )
        for name in architectures
    ]


def lawful(plan, budget):
    table = npas.arch.layer_table(plan.networks)
    check_covers(table, plan.groups, plan.private)
    others = plan.ledger.dense - sum(layer.size for layer in table.layers)
    assert num_scalars(plan.groups, plan.private, others) == plan.ledger.total <= budget


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architectures", PAPERS.values(), ids=PAPERS)
def test_the_papers_ensembles_fit_18_million_with_all_they_train(architectures, method):
    networks = networks_of(architectures, 100)
    plan = npas.plan(networks, budget=BUDGET, method=method)
    lawful(plan, BUDGET)
    assert plan.ledger.total > 0.98 * BUDGET
    dense = {4: 35_010_000, 3: 27_110_000}[len(networks)]
    assert plan.ledger.dense == pytest.approx(dense, rel=0.001)  # norms and classifiers included
    whole = [num_read(plan, [network.name]) for network in plan.networks]
    assert sum(whole) > plan.ledger.total  # something is shared between networks
    assert num_read(plan, [network.name for network in plan.networks]) == plan.ledger.total


def test_the_papers_ensemble_builds_and_answers():
    plan = npas.plan(networks_of(PAPERS["28-[7,4,3]"], 100), budget=BUDGET, method="superweights")
    net = npas.share({n.name: npas.build(n.architecture) for n in plan.networks}, plan)
    assert num_stored(net) == plan.ledger.total <= BUDGET
    with torch.no_grad():
        answers = net.eval().members(torch.zeros(1, 3, 32, 32))
    assert {tuple(logits.shape) for logits in answers.values()} == {(1, 100)}


@pytest.mark.parametrize("method", ["superweights", "block_mix", "ssn", "random", "uniform"])
@pytest.mark.parametrize("architectures", MIXED.values(), ids=MIXED)
def test_families_mix_lawfully(architectures, method, tmp_path):
    networks = networks_of(architectures, 10)
    dense = npas.plan(networks, method="dense").ledger.total
    for fraction in (0.9, 0.5, 0.2):
        budget = int(fraction * dense)
        plan = npas.plan(networks, budget=budget, method=method)
        lawful(plan, budget)
        assert npas.plan(networks, budget=budget, method=method).to_json() == plan.to_json()
    net = npas.share({n.name: npas.build(n.architecture) for n in plan.networks}, plan).eval()
    npas.save(net, tmp_path / "model.safetensors")
    again, x = npas.load(tmp_path / "model.safetensors"), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before, after = net.members(x), again.members(x)
        for network in plan.networks:
            assert torch.equal(before[network.name], after[network.name])
            alone = net.member(network.name)
            assert alone.plan == restricted(plan, [network.name])
            assert torch.allclose(alone(x), before[network.name], atol=1e-4)
