"""How large a model file will be, against files that are written."""

import npas
import npas.data
import pytest
from npas import registry
from npas.arch.footprint import footprint, macs_of
from npas.delivery import checkpoint
from npas.delivery.file_size import model_file_bytes, shared_state
from npas.ensembles.ladder import LADDER, by_cost
from npas.errors import InfeasibleBudgetError
from npas.spec import JobSpec

NETWORKS = ["resnet-14", "vit-1-16-4"]
DIGITS = 17
"""By so many characters a number that is measured may be shorter than is thought."""


def asked(method, fraction, networks):
    members = [{"name": f"n{i}", "architecture": name} for i, name in enumerate(networks)]
    request = {
        "networks": members,
        "budget": {"fraction": fraction},
        "method": method,
        "dataset": "digits",
        "seed": 7,
    }
    return JobSpec.model_validate(request)


def states(plan):
    dense = [footprint(each.architecture, batch=2).tensors for each in plan.networks]
    return list(shared_state(plan, dense))


@pytest.mark.slow
@pytest.mark.parametrize("method", registry.names("npas.methods"))
def test_model_file_is_as_large_as_was_thought(method, tmp_path):
    dataset, found = npas.data.load("digits"), 0
    for fraction, networks in ((0.2, ["resnet-8"]), (0.6, NETWORKS), (1.6, NETWORKS)):
        spec = asked(method, fraction, networks)
        try:
            plan = npas.plan(spec)
        except InfeasibleBudgetError:
            continue
        built = {each.name: npas.build(each.architecture) for each in plan.networks}
        model = npas.share(built if len(built) > 1 else built["n0"], plan)
        state = states(plan)
        assert {each.name: (each.dtype, each.shape) for each in state} == {
            name: (tensor.dtype, tuple(tensor.shape))
            for name, tensor in model.state_dict().items()
        }
        extra = {
            "dataset": dataset.name,
            "dataset_fingerprint": dataset.fingerprint,
            "mean": dataset.mean,
            "std": dataset.std,
            "input_size": plan.networks[0].architecture.input_size,
            "seed": spec.seed,
            "accuracy": 0.5,
        }
        if len(built) > 1:
            ladder = by_cost(macs_of(plan.networks)).model_dump(mode="json")
            extra[LADDER] = ladder | {"threshold": 0.5}
        checkpoint.save(model, tmp_path / "file", extra=extra)
        thought = model_file_bytes(plan, state, spec, npas.data.facts("digits"))
        assert -24 <= thought - (tmp_path / "file").stat().st_size <= 4 * DIGITS + 8
        found += 1
    assert found
