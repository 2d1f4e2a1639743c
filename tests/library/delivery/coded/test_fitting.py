"""A network of any size of file: the steps that fill it, and their expected bytes."""

import pytest
from npas.delivery.checkpoint import note_of
from npas.delivery.coded.coder import Coder, num_readers
from npas.delivery.coded.fitting import LEAST_SHARE, Sizes
from npas.delivery.coded.grid import scales
from npas.plans.rounding import COARSEST, FINEST


@pytest.fixture(scope="module")
def shared(network):
    return network("block_mix", {"fraction": 0.2})


def weights_of(model):
    return {n: t for n, t in model.state_dict().items() if t.dim() > 1 and "coeff" not in n}


def test_finer_steps_take_more_bytes_within_the_range(shared):
    sizes = Sizes(shared.state_dict(), scales(weights_of(shared), {}))
    low, high = sizes.range()
    found = [sizes.weight_bytes(low * (high / low) ** (place / 6)) for place in range(7)]
    assert found == sorted(found, reverse=True)
    assert low / high <= FINEST / COARSEST * 1.001
    middle = found[3]
    assert sizes.weight_bytes(sizes.factor_for(middle)) == pytest.approx(middle, rel=0.01)


@pytest.mark.parametrize("budget", [4500, 7000, 12_000])
def test_fitted_file_fills_its_budget(shared, budget):
    coder = Coder(shared.plan, budget)
    found = coder.fitted(shared.state_dict(), note_of(shared.plan, {}))
    assert LEAST_SHARE * budget <= found.file_bytes <= budget
    assert (found.why_less, found.note["format"]) == ("", "npas-coded-1")
    rest = coder.fitted(shared.state_dict(), note_of(shared.plan, {}), reserve=500)
    assert rest.file_bytes <= budget - 500


def test_grid_in_a_training_is_about_that_of_the_file(shared):
    coder = Coder(shared.plan, 7000)
    tensors = shared.state_dict()
    in_training = coder.grid_for(tensors, {}).steps
    in_the_file = coder.fitted(tensors, note_of(shared.plan, coder_extra())).grid.steps
    for name, step in in_training.items():
        assert step == pytest.approx(in_the_file[name], rel=0.2)
    eased = coder.grid_for(tensors, {}, more_bits=3.0).steps
    assert all(eased[name] < 0.3 * step for name, step in in_training.items())


def coder_extra():
    return {"accuracy": 0.5, "dataset": "digits", "dataset_fingerprint": "0123456789abcdef" * 4}


def test_readers_are_weights_over_scalars(shared):
    found = num_readers(shared.plan)
    group = shared.plan.groups[0]
    (bank,) = group.banks
    weights = sum(shared.materialise()["main"].get_parameter(s.layer).numel() for s in group.slots)
    wanted = weights / bank.num_template_scalars
    assert found[f"groups.{group.name}.templates.0"] == pytest.approx(wanted)
