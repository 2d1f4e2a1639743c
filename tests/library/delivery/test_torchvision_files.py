"""Every torchvision classification model is saved and loaded bit for bit, or refused at once.

Small ones are run before and after; of the others the tensors are compared, of which the same
modules make the same outputs.
"""

import npas
import pytest
import torch
from npas import arch
from npas.errors import InfeasibleBudgetError
from torchvision import models

pytestmark = pytest.mark.slow

MODELS = models.list_models(module=models)
LARGEST_RUN = 8_000_000


def planned(name):
    """Return the plan of a request for a tenth of the dense size, or for the minimum it names."""
    try:
        return npas.plan(name, budget={"fraction": 0.1}, method="random")
    except InfeasibleBudgetError as error:
        return npas.plan(name, budget=error.minimum, method="random")


def moved(model):
    """Put numbers into all parameters and statistics that no fresh network has."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.2, generator=generator)
    return model.eval()


def answers(model, spec):
    with torch.no_grad():
        return model(arch.example_input(spec, num_examples=1))


@pytest.mark.parametrize("name", MODELS)
def test_model_comes_back_from_its_file(name, tmp_path):
    plan = planned(f"torchvision:{name}")
    spec = plan.networks[0].architecture
    model = moved(npas.share(arch.build_uninitialised(spec), plan))
    npas.save(model, tmp_path / "model")
    loaded = npas.load(tmp_path / "model")
    assert loaded.plan == plan
    found, saved = loaded.state_dict(), model.state_dict()
    assert found.keys() == saved.keys()
    assert [key for key in saved if not torch.equal(found[key], saved[key])] == []
    if plan.ledger.dense <= LARGEST_RUN:
        assert torch.equal(answers(loaded, spec), answers(model, spec))


def test_names_are_all_that_torchvision_has():
    assert len(MODELS) >= 80
    assert [
        name.removeprefix("torchvision:") for name in arch.known_families()["torchvision"].names()
    ] == MODELS
