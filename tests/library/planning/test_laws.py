"""The laws of a plan on real networks: every method, many networks, 0.5 % to 300 % of dense."""

import copy

import npas
import pytest
import torch
from npas import registry
from npas.spec import BudgetSpec
from npas.testing import (
    NETWORK_LAWS,
    PLAN_LAWS,
    Effort,
    check_method_network_law,
    check_method_plan_law,
)
from npas.testing.networks import Request, images, modules_of, several

pytestmark = pytest.mark.slow

METHODS = registry.names("npas.methods")
EFFORT = Effort(networks=5)

BUILT = {
    "wrn": several("wrn-16-2"),
    "resnet": several("resnet-20"),
    "squeezenet": several("torchvision:squeezenet1_1", size=64),
    "shufflenet": several("torchvision:shufflenet_v2_x0_5", size=64),
    "mobilenet": several("torchvision:mobilenet_v3_small", size=64),
    "vit": several("vit-6-64-4"),
    "two": several("wrn-16-1", "resnet-14"),
    "three": several("wrn-22-1", "wrn-10-2", "resnet-8"),
    "same": several("resnet-14", "resnet-14"),
}
PLANNED = BUILT | {
    "wide": several("wrn-28-10"),
    "deep": several("resnet-110"),
    "attention": several("torchvision:swin_t"),
    "tokens": several("torchvision:vit_b_16"),
    "grouped": several("torchvision:resnext50_32x4d"),
    "mixed": several("torchvision:resnet18", "wrn-28-4", "torchvision:efficientnet_b0", size=64),
}
DENSE = "dense budget holds the dense network"
"""The law that is tried on each network, not on some."""

every_method = pytest.mark.parametrize("method", METHODS)


@every_method
@pytest.mark.parametrize("request_name", PLANNED)
@pytest.mark.parametrize("law", PLAN_LAWS)
def test_plan_keeps_the_law(law, request_name, method):
    check_method_plan_law(law, method, PLANNED[request_name])


@every_method
@pytest.mark.parametrize("law", [law for law in NETWORK_LAWS if law != DENSE])
def test_built_network_keeps_the_law(law, method):
    check_method_network_law(law, method, list(BUILT.values()), effort=EFFORT)


@every_method
@pytest.mark.parametrize("request_name", BUILT)
def test_dense_budget_represents_the_dense_network_exactly(request_name, method):
    networks = [BUILT[request_name]]
    check_method_network_law(DENSE, method, networks, effort=Effort(networks=1))


@pytest.mark.parametrize("method", ["soft_sharing", "block_mix"])
@pytest.mark.parametrize("request_name", ["wrn", "resnet", "three"])
def test_budget_above_dense_is_used_and_still_holds_the_dense_network(request_name, method):
    plan = npas.plan(BUILT[request_name], budget=BudgetSpec(fraction=1.8), method=method)
    assert plan.ledger.dense < plan.ledger.total <= plan.ledger.budget
    modules = {name: net.eval() for name, net in modules_of(plan, seed=7).items()}
    model = npas.share(copy.deepcopy(modules), plan, fit=True).eval()
    x = images(plan)
    with torch.no_grad():
        members = model.members(x)
        for name, module in modules.items():
            torch.testing.assert_close(members[name], module(x), rtol=1e-3, atol=1e-3)


@every_method
def test_sharing_does_not_touch_the_random_state(method):
    plan = Request(method, BUILT["wrn"], {}).plan_or_minimum(0.5)
    modules = modules_of(plan)
    before = torch.get_rng_state()
    npas.share(modules, plan)
    npas.build("wrn-16-2", seed=3)
    npas.build("wrn-16-2", device="meta")
    assert torch.equal(torch.get_rng_state(), before)
