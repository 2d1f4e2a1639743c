"""What a training is estimated to need, and what is refused for it."""

import npas
import pytest
import torch
from npas import memory
from npas.errors import TooLargeError
from npas.spec import JobSpec


def job(**changes):
    asked = {
        "architecture": "resnet-8",
        "budget": {"fraction": 0.5},
        "dataset": "digits",
        "training": {"batch_size": 32, "precision": "float32"},
    }
    return JobSpec.model_validate({**asked, **changes})


def test_estimate_counts_what_a_real_batch_keeps():
    spec = job()
    model = npas.build(
        {"name": "resnet-8", "input_channels": 1, "input_size": 8, "num_classes": 10}
    )
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = model.train()(torch.zeros(32, 1, 8, 8))
    assert memory.estimate(spec).activations == sum(saved.values())
    assert kept.requires_grad


def test_estimate_counts_weights_gradients_and_what_the_optimiser_remembers():
    dense = sum(p.numel() for p in npas.build("resnet-8").parameters())
    spec = job(architecture={"name": "resnet-8", "input_channels": 3, "input_size": 32})
    banks = dense // 2
    assert memory.estimate(spec).weights == 4 * (2 * dense + 3 * banks)


def test_require_room_refuses_a_batch_that_cannot_fit_and_names_one_that_does():
    spec = job()
    needed = memory.estimate(spec)
    memory.require_room(spec, needed.total)
    with pytest.raises(TooLargeError, match=r"batch_size to at most 16") as caught:
        memory.require_room(spec, needed.total - needed.activations // 2)
    assert caught.value.field == "/training/batch_size"


def test_require_room_refuses_a_network_that_cannot_fit_whatever_the_batch():
    with pytest.raises(TooLargeError, match="choose a smaller network") as caught:
        memory.require_room(job(), 1000)
    assert caught.value.field == "/architecture"
