"""Several networks on one bank: which take part, what moves, what they see; and resumed runs."""

import functools
import itertools
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import npas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from npas.data import Dataset
from npas.errors import InvalidSpecError
from npas.plans import Plan
from npas.spec import EnsembleSpec, PlanRequest, TrainingSpec
from npas.train import Command, Trainer
from npas.train.ensemble import chances, check_ensemble, num_trained, taking_part
from npas.train.steps import Steps
from torch import Tensor, nn

NAMES = ("a", "b", "c")
SIZES = {"num_classes": 10, "input_channels": 1, "input_size": 8}
REQUEST = {
    "networks": [
        {"name": name, "architecture": {"name": kind, **SIZES}}
        for name, kind in zip(NAMES, ("resnet-8", "resnet-8", "wrn-10-2"), strict=True)
    ],
    "budget": {"fraction": 0.4},
    "unshared": ["classifier"],
}
OPTIONS: list[dict[str, Any]] = [
    {"networks_trained": 1},
    {"networks_trained": 2, "first_always": True},
    {"networks_trained": 2, "drawn": "epoch"},
    {"mutual": 0.6, "mutual_temperature": 2.0},
    {"batches": "own"},
    {"networks_trained": 2, "batches": "own"},
    {"networks_trained": 2, "mutual": 0.5},
]


@functools.cache
def plan_by(method: str) -> Plan:
    """Return a plan; by superweights, a network may read none of some banks of a group."""
    options = {"keep_plain": False} if method == "block_mix" else {}
    return npas.plan(
        PlanRequest.model_validate({**REQUEST, "method": {"name": method, **options}})
    )


MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(few_digits: Dataset) -> MakeTrainer:
    def make(ensemble: object = None, method: str = "superweights", **options: object) -> Trainer:
        plan = plan_by(method)
        networks = {n.name: npas.build(n.architecture, seed=3) for n in plan.networks}
        spec = TrainingSpec.model_validate(
            {"epochs": 2, "batch_size": 50, "ensemble": ensemble or {}} | options
        )
        shared = npas.share(networks, plan, seed=1)
        return Trainer(shared, few_digits, spec, inputs=few_digits.inputs(), seed=4)

    return make


def advance(trainer: Trainer, steps: int = 1) -> None:
    until = trainer.step + steps
    trainer.train(after_step=lambda: Command.CONTINUE, after_epoch=lambda _: None, until=until)


def bits(trainer: Trainer) -> dict[str, bytes]:
    return {n: t.contiguous().numpy().tobytes() for n, t in trainer.state().tensors.items()}


def drawn(spec: EnsembleSpec, networks: int, epoch: int = 0, index: int = 0) -> tuple[int, ...]:
    return taking_part(spec, networks, seed=5, stage="train", epoch=epoch, index=index)


@given(
    networks=st.integers(1, 9),
    asked=st.integers(1, 12) | st.just("all"),
    first=st.booleans(),
    place=st.tuples(st.integers(0, 99), st.integers(0, 99)),
)
@settings(deadline=None)
def test_as_many_networks_take_part_as_asked_for(
    networks: int, asked: Any, first: bool, place: tuple[int, int]
) -> None:
    spec = EnsembleSpec(networks_trained=asked, first_always=first)
    found = drawn(spec, networks, *place)
    assert len(set(found)) == len(found) == (networks if asked == "all" else min(asked, networks))
    assert list(found) == sorted(found)
    assert set(found) <= set(range(networks))
    assert found == drawn(spec, networks, *place)
    assert not first or found[0] == 0
    assert sum(chances(spec, networks)) == len(found) == num_trained(spec, networks)


@pytest.mark.parametrize("first", [False, True])
def test_all_choices_are_equally_likely(first: bool) -> None:
    """3,000 draws of few choices: each count within five standard deviations of its mean."""
    spec, draws = EnsembleSpec(networks_trained=2, first_always=first), 3000
    counts = Counter(drawn(spec, 4, index=index) for index in range(draws))
    every = itertools.combinations(range(4), 2)
    possible = [each for each in every if not first or each[0] == 0]
    assert set(counts) == set(possible)
    share = 1 / len(possible)
    bound = 5 * (draws * share * (1 - share)) ** 0.5
    assert all(abs(count - draws * share) < bound for count in counts.values())
    likely = [Fraction(sum(n in each for each in possible), len(possible)) for n in range(4)]
    assert list(chances(spec, 4)) == likely


def test_choice_of_an_epoch_holds_for_all_of_its_steps_alone() -> None:
    spec = EnsembleSpec(networks_trained=2, drawn="epoch")
    found = [{drawn(spec, 5, epoch, index) for index in range(20)} for epoch in range(10)]
    assert all(len(each) == 1 for each in found)
    assert len(set.union(*found)) > 3
    by_step = EnsembleSpec(networks_trained=2)
    assert len({drawn(by_step, 5, 0, index) for index in range(20)}) > 3


def unread(trainer: Trainer, name: str) -> dict[str, list[int]]:
    """Return what one network does not read: whole parameters (no rows), rows of others."""
    found: dict[str, list[int]] = {}
    shared: Any = trainer.model
    for group in shared.plan.groups:
        place = 0
        readers = shared.groups[group.name]._composer.readers
        for index, (bank, reads) in enumerate(zip(group.banks, readers, strict=True)):
            own = [each for each in reads if group.slots[each.slot].network == name]
            if not own:
                found[f"groups.{group.name}.templates.{index}"] = []
            if bank.rows:
                resting = sorted(set(range(bank.rows)) - {each.row for each in own})
                if resting:
                    found[f"groups.{group.name}.coefficients.{place}"] = resting if own else []
                place += 1
    return found


def everything(trainer: Trainer) -> dict[str, Tensor]:
    state = trainer.state().tensors
    return {name: tensor.clone() for name, tensor in state.items() if name != "sums"}


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [("superweights", "sgd"), ("superweights", "adamw"), ("block_mix", "sgd")],
)
def test_what_no_network_of_a_step_reads_stays_as_it_is(
    make_trainer: MakeTrainer, method: str, optimizer: str
) -> None:
    """Weights, statistics and momenta; of coefficients, the rows of layers that sit out."""
    options = {"epochs": 3, "keep": "last", "learning_rate": 0.01, "optimizer": optimizer}
    trainer = make_trainer({"networks_trained": 1}, method, **options)
    took_part = []
    for _ in range(trainer.total_steps):
        (chosen,) = drawn_by(trainer)
        before = everything(trainer)
        advance(trainer)
        after = everything(trainer)
        resting, own = unread(trainer, chosen), NAMES.index(chosen)
        for place, old in before.items():
            name = place[place.index("networks." if "networks." in place else "groups.") :]
            rows = resting.get(name)
            is_of_others = name.startswith("networks.") and f"networks.{own}." not in name
            if is_of_others or rows == []:
                assert torch.equal(after[place], old), place
            elif rows and old.dim() > 1:
                assert torch.equal(after[place][rows], old[rows]), place
        moved = {n for n, old in before.items() if not torch.equal(after[n], old)}
        assert {n for n in moved if n.startswith("model/groups.")}
        assert {n for n in moved if n.startswith(f"model/networks.{own}.")}
        took_part.append(chosen)
    assert set(took_part) == set(NAMES)
    still = unread(trainer, "a")
    assert any(rows for rows in still.values())
    assert any("templates" in name for name in still)


def drawn_by(trainer: Trainer) -> tuple[str, ...]:
    epoch, index = divmod(trainer.step, trainer.steps_per_epoch)
    spec = trainer.objective.spec.ensemble
    chosen = taking_part(spec, 3, seed=4, stage="train", epoch=epoch, index=index)
    return tuple(NAMES[number] for number in chosen)


def test_networks_that_sit_out_are_not_run(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer({"networks_trained": 2}, validation_fraction=0.0, keep="last")
    ran: list[str] = []
    networks: Any = trainer.model.networks
    for name, network in zip(NAMES, networks, strict=True):
        network.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    for _ in range(trainer.total_steps):
        wanted = drawn_by(trainer)
        ran.clear()
        advance(trainer)
        assert tuple(ran) == wanted


@pytest.mark.parametrize("ensemble", OPTIONS, ids=str)
def test_run_that_is_stopped_at_every_step_is_bit_equal(
    make_trainer: MakeTrainer, ensemble: dict[str, Any]
) -> None:
    options = {"crop_padding": 1, "flip": True}
    whole, part = make_trainer(ensemble, **options), make_trainer(ensemble, **options)
    advance(whole, whole.total_steps)
    while part.step < whole.total_steps:
        advance(part)
        state = part.state()
        part = make_trainer(ensemble, **options)
        part.restore(state)
    assert bits(part) == bits(whole)
    assert [row.train_loss for row in part.rows] == [row.train_loss for row in whole.rows]
    plain = make_trainer(**options)
    advance(plain, plain.total_steps)
    assert bits(plain) != bits(whole)


def test_defaults_and_all_networks_by_number_are_the_same(make_trainer: MakeTrainer) -> None:
    found = []
    for ensemble in ({}, {"networks_trained": 3, "first_always": True}, {"drawn": "epoch"}):
        trainer = make_trainer(ensemble, epochs=1)
        advance(trainer, trainer.total_steps)
        found.append(bits(trainer))
    assert found[0] == found[1] == found[2]


class Named(nn.Module):
    """Networks by name that are never run."""

    network_names = NAMES


def steps(trainer: Trainer, dataset: Dataset, **ensemble: Any) -> Steps:
    spec = TrainingSpec.model_validate({"ensemble": ensemble, "crop_padding": 0, "flip": False})
    return Steps(Named(), dataset, spec, trainer.batches, seed=4, stage="train")


def test_own_batches_show_each_network_every_image_once_an_epoch(
    make_trainer: MakeTrainer, few_digits: Dataset
) -> None:
    trainer = make_trainer()
    own = steps(trainer, few_digits, batches="own")
    for epoch in range(2):
        seen: dict[str, list[Any]] = {name: [] for name in NAMES}
        for index in range(trainer.steps_per_epoch):
            step = own.get(epoch, index)
            assert step.names == NAMES
            assert isinstance(step.images, dict)
            assert {len(images) for images in step.images.values()} == {step.size}
            for name, images in step.images.items():
                seen[name] += images.flatten(1).tolist()
        assert sorted(seen["a"]) == sorted(seen["b"]) == sorted(seen["c"])
        assert len(seen["a"]) == len(trainer.batches.labels)
        assert seen["a"] != seen["b"] != seen["c"] != seen["a"]


def test_own_batches_have_their_own_changes_and_same_ones_the_usual(
    make_trainer: MakeTrainer, few_digits: Dataset
) -> None:
    trainer = make_trainer()
    spec = TrainingSpec.model_validate({"ensemble": {"batches": "own"}, "crop_padding": 2})
    moved = Steps(Named(), few_digits, spec, trainer.batches, seed=4, stage="train").get(0, 0)
    still = steps(trainer, few_digits, batches="own").get(0, 0)
    same = steps(trainer, few_digits, networks_trained=2).get(0, 0)
    assert isinstance(moved.images, dict)
    assert isinstance(still.images, dict)
    assert isinstance(same.images, Tensor)
    assert torch.equal(same.images, trainer.batches.get(0, 0)[0])
    assert len(same.names or ()) == 2
    for name in NAMES:
        assert not torch.equal(moved.images[name], still.images[name])


LONE = [
    *({"networks_trained": 1}, {"first_always": True}, {"drawn": "epoch"}, {"mutual": 0.5}),
    *({"mutual_temperature": 2.0}, {"batches": "own"}),
]


@pytest.mark.parametrize(
    ("networks", "ensemble", "field"),
    [
        *((1, each, next(iter(each))) for each in LONE),
        (3, {"networks_trained": 4}, "networks_trained"),
        (3, {"networks_trained": 1, "first_always": True}, "networks_trained"),
        (3, {"networks_trained": 1, "mutual": 0.5}, "mutual"),
        (3, {"batches": "own", "mutual": 0.5}, "mutual"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(
    networks: int, ensemble: dict[str, Any], field: str
) -> None:
    spec = TrainingSpec.model_validate({"ensemble": ensemble})
    with pytest.raises(InvalidSpecError, match=field) as refused:
        check_ensemble(spec, networks)
    assert refused.value.field == f"/training/ensemble/{field}"


@pytest.mark.parametrize("ensemble", [{}, *OPTIONS], ids=str)
def test_what_can_be_is_not_refused(ensemble: dict[str, Any]) -> None:
    check_ensemble(TrainingSpec.model_validate({"ensemble": ensemble}), 3)
    if not ensemble:
        check_ensemble(TrainingSpec(), 1)


def test_trainer_refuses_what_its_network_cannot_do(few_digits: Dataset) -> None:
    spec = TrainingSpec.model_validate({"ensemble": {"mutual": 0.5}})
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(InvalidSpecError, match="several networks"):
        Trainer(network, few_digits, spec, inputs=few_digits.inputs(), seed=0)
