"""Plans for budgets in bytes: what is expected of the file; files of 30 random requests."""

import os
import random

import npas
import pytest
import torch
from npas import registry
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.plans import Plan
from npas.plans.rounding import FINEST
from npas.testing.networks import built, several

NETWORKS = (
    several("resnet-8"),
    several("wrn-10-1"),
    several("vit-1-16-4"),
    several("resnet-8", "wrn-10-1"),
    several("densenet-10-4"),
)
METHODS = [name for name in registry.names("npas.methods") if name != "auto"]
REQUESTS = 30
TOLD = {
    "accuracy": 0.1234567890123456,
    "dataset": "digits",
    "dataset_fingerprint": "0123456789abcdef" * 4,
    "mean": [0.4913725490196079, 0.4823529411764706, 0.4466666666666667],
    "std": [0.2470588235294118, 0.2435294117647059, 0.2615686274509804],
}
"""What a job says beside the plan, about."""


def requests():
    """Yield 30 requests: networks, a method that goes with several, and a size."""
    draw = random.Random(12)
    for number in range(REQUESTS):
        yield (
            NETWORKS[draw.randrange(len(NETWORKS))],
            METHODS[number % len(METHODS)],
            draw.random(),
        )


def size_for(networks, method, share):
    """Return so many bytes: a share of the plain file, or what the method needs at least."""
    dense = npas.plan(list(networks), method="dense").ledger.total
    size = int(4 * dense * share)
    try:
        npas.plan(list(networks), budget={"bytes": size}, method=method)
    except InfeasibleBudgetError as error:
        return error.minimum
    return size


@pytest.mark.slow
@pytest.mark.parametrize(("networks", "method", "share"), list(requests()))
def test_file_of_a_random_request_fills_its_budget_and_comes_back(
    networks, method, share, tmp_path
):
    size = size_for(networks, method, share)
    plan = npas.plan(list(networks), budget={"bytes": size}, method=method)
    assert plan == npas.plan(list(networks), budget={"bytes": size}, method=method)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.file is not None
    assert plan.file.bytes == size
    model, path = _moved(built(plan)), tmp_path / "model.safetensors"
    npas.save(model, path)
    written = os.stat(path).st_size
    assert written <= size
    is_as_fine_as_can_be = plan.file.step <= 1.01 * FINEST  # 0 where nothing is rounded
    assert written >= 0.995 * size or is_as_fine_as_can_be, f"{written} of {size}: {plan.file}"
    loaded = npas.load(path)
    assert loaded.plan == plan
    npas.save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    again = npas.load(tmp_path / "again").state_dict()
    assert all(torch.equal(tensor, again[n]) for n, tensor in loaded.state_dict().items())
    for name in loaded.network_names:
        npas.save(loaded.member(name), tmp_path / name)
        assert os.stat(tmp_path / name).st_size <= size


def _moved(model):
    """Return a model whose norms and statistics are as different as those of a trained one."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() and tensor.dim() < 2:
                tensor.mul_(1 + 0.3 * torch.rand(tensor.shape, generator=generator)).add_(
                    0.02 * torch.rand(tensor.shape, generator=generator)
                )
    return model.eval()


@pytest.mark.parametrize("method", ["block_mix", "soft_sharing", "narrow", "dense"])
def test_least_bytes_are_feasible_and_one_less_is_not(method):
    with pytest.raises(InfeasibleBudgetError) as refused:
        npas.plan("resnet-8", budget={"bytes": 500}, method=method)
    error = refused.value
    assert (error.unit, error.budget, error.field) == ("bytes", 500, "/budget")
    assert f"raise it to at least {error.minimum:,}" in str(error)
    assert set(error.alternatives) == set(registry.names("npas.methods")) - {method}
    assert npas.plan("resnet-8", budget={"bytes": error.minimum}, method=method).file is not None
    with pytest.raises(InfeasibleBudgetError):
        npas.plan("resnet-8", budget={"bytes": error.minimum - 1}, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_a_trained_network_fits_the_least_bytes(method, tmp_path):
    with pytest.raises(InfeasibleBudgetError) as refused:
        npas.plan("resnet-8", budget={"bytes": 500}, method=method)
    least = refused.value.minimum
    plan = npas.plan("resnet-8", budget={"bytes": least}, method=method)
    model, generator = built(plan), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                spread = 0.7 if tensor.dim() < 2 else 0.3
                tensor.mul_(torch.exp(spread * torch.randn(tensor.shape, generator=generator)))
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator) * (spread > 0.5))
    npas.save(model.eval(), tmp_path / "model", extra=TOLD)
    assert os.stat(tmp_path / "model").st_size <= least


def test_more_bytes_are_never_fewer_parameters_and_end_with_the_plain_file():
    plans = [npas.plan("resnet-8", budget={"bytes": size}) for size in (4000, 9000, 40_000, 10**6)]
    sizes = [plan.ledger.total for plan in plans]
    assert sizes == sorted(sizes)
    assert plans[-2].ledger.total == plans[-2].ledger.dense
    assert plans[-2].file.bits > plans[0].file.bits
    assert (plans[-1].file.bits, plans[-1].file.step) == (32, 0)


def test_budgets_that_count_parameters_have_plans_without_a_file():
    text = npas.plan("resnet-8", budget={"fraction": 0.5}).to_json()
    assert '"file"' not in text


def test_networks_that_join_give_no_budget_in_bytes():
    plan = npas.plan("resnet-8", budget={"fraction": 0.6}, method="superweights")
    net = npas.share(npas.build("resnet-8"), plan)
    more = npas.NetworkSpec(name="more", architecture={"name": "wrn-10-1"})
    with pytest.raises(InvalidSpecError, match="whole file"):
        npas.join(net, [more], budget={"bytes": 30_000})
