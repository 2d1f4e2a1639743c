"""What a training is estimated to need, and what is refused for it."""

import re

import npas
import npas.data
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas import data
from npas.errors import TooLargeError
from npas.jobs import memory
from npas.spec import JobSpec
from npas.train.batches import Batches


def job(**changes):
    asked = {
        "architecture": "resnet-8",
        "budget": {"fraction": 0.5},
        "dataset": "digits",
        "training": {"batch_size": 32, "precision": "float32"},
    }
    return JobSpec.model_validate({**asked, **changes})


def needs(spec):
    return memory.estimate(spec, npas.plan(spec), npas.data.facts(spec.dataset))


def require_room(spec, limit_bytes):
    memory.require_room(spec, npas.plan(spec), npas.data.facts(spec.dataset), limit_bytes)


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
    assert needs(spec).activations == sum(saved.values())
    assert kept.requires_grad


def test_estimate_counts_weights_gradients_and_what_the_optimiser_remembers():
    digits = {"name": "resnet-8", "input_channels": 1, "input_size": 8, "num_classes": 10}
    dense = sum(p.numel() for p in npas.build(digits).parameters())
    plan = npas.plan(job())
    composed = sum(group.num_dense for group in plan.groups)
    assert dense / 2 < composed < dense
    assert needs(job()).weights == 4 * (2 * composed + 3 * plan.ledger.total)
    assert needs(job(method="dense", budget=dense)).weights == 4 * 3 * dense


def test_estimate_is_of_the_networks_that_are_planned():
    wide, narrow = (
        job(method="dense", budget={"fraction": 1.0}),
        job(method="narrow", budget={"fraction": 0.1}),
    )
    assert needs(narrow).activations < needs(wide).activations / 2
    assert needs(narrow).weights < needs(wide).weights / 9
    training = {"batch_size": 32, "precision": "float32", "distillation": "dense"}
    assert needs(narrow.model_copy(update={"training": job(training=training).training})) == needs(
        wide
    )


def test_estimate_counts_the_teacher_of_a_network_that_shares():
    shared = job(budget={"fraction": 0.3}, method="ssn")
    training = {"batch_size": 32, "precision": "float32", "distillation": "dense"}
    taught = shared.model_copy(update={"training": job(training=training).training})
    plan = npas.plan(shared)
    alone = needs(job(method="dense", budget=plan.dense))
    learning = needs(shared).total + 4 * plan.dense
    assert needs(taught).total == max(alone.total, learning) > needs(shared).total


@pytest.mark.parametrize(
    ("dataset", "training", "largest"),
    [
        ("digits", {"batch_size": 65_536}, 1293),
        ("digits", {"batch_size": 1000}, 647),
        ({"name": "digits", "train_images": 100}, {"batch_size": 128}, 90),
        (
            {"name": "digits", "train_images": 100},
            {"batch_size": 128, "validation_fraction": 0.5},
            50,
        ),
    ],
)
def test_estimate_is_of_a_batch_that_the_data_can_fill(dataset, training, largest):
    asked = job(dataset=dataset, training={"precision": "float32", **training})
    batches = Batches(
        data.load(asked.dataset), asked.training, seed=0, stage="train", device=torch.device("cpu")
    )
    assert max(len(batches.get(0, n)[0]) for n in range(batches.per_epoch)) == largest
    exact = job(training={"batch_size": largest, "validation_fraction": 0, "precision": "float32"})
    images = {"name": "digits", "train_images": largest}
    exact = exact.model_copy(update={"dataset": job(dataset=images).dataset})
    assert needs(asked).activations == needs(exact).activations


def test_require_room_refuses_a_batch_that_cannot_fit_and_names_one_that_does():
    spec = job()
    needed = needs(spec)
    require_room(spec, needed.total)
    with pytest.raises(TooLargeError, match=r"batch_size to at most 15") as caught:
        require_room(spec, needed.total - needed.activations // 2)
    assert caught.value.field == "/training/batch_size"


@pytest.mark.slow
@given(
    architecture=st.sampled_from(["resnet-8", "vit-1-16-4", "densenet-10-4"]),
    batch_size=st.sampled_from([7, 32, 500, 65_536]),
    part=st.floats(0.05, 0.999),
)
@settings(max_examples=20, deadline=None)
def test_require_room_advises_a_batch_that_is_accepted(architecture, batch_size, part):
    training = {"batch_size": batch_size, "precision": "float32"}
    spec = job(architecture=architecture, training=training)
    needed = needs(spec)
    limit = needed.total - round((1 - part) * needed.activations)
    with pytest.raises(TooLargeError) as caught:
        require_room(spec, limit)
    advised = re.search(r"batch_size to at most ([\d,]+)", caught.value.message)
    if advised is None:
        assert caught.value.field == "/architecture"
        smallest = job(architecture=architecture, training={**training, "batch_size": 2})
        assert needs(smallest).total > limit
        return
    size = int(advised[1].replace(",", ""))
    require_room(job(architecture=architecture, training={**training, "batch_size": size}), limit)


def test_require_room_refuses_a_network_that_cannot_fit_whatever_the_batch():
    with pytest.raises(TooLargeError, match="choose a smaller network") as caught:
        require_room(job(), 1000)
    assert caught.value.field == "/architecture"
