import pytest
import torch
from npas.data import Dataset
from npas.spec import TrainingSpec
from npas.train.batches import Batches, split

CPU = torch.device("cpu")


def batches(dataset: Dataset, stage: str = "train", **options: object) -> Batches:
    spec = TrainingSpec.model_validate(options)
    return Batches(dataset, spec, seed=1, stage=stage, device=CPU)


def test_split_holds_out_a_fraction_and_never_an_image_twice() -> None:
    training, held_out = split(1437, 0.1, seed=0)

    assert len(held_out) == 144
    assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(1437))
    assert not torch.equal(held_out, split(1437, 0.1, seed=1)[1])


def test_split_of_nothing_trains_on_everything() -> None:
    assert [len(part) for part in split(50, 0.0, seed=0)] == [50, 0]
    assert [len(part) for part in split(10, 0.01, seed=0)] == [9, 1]


@pytest.mark.parametrize(("batch_size", "sizes"), [(40, {33, 34}), (135, {135}), (1000, {135})])
def test_batches_of_an_epoch_are_about_equal_and_cover_it(
    few_digits: Dataset, batch_size: int, sizes: set[int]
) -> None:
    some = batches(few_digits, batch_size=batch_size)

    epoch = [some.get(0, index) for index in range(some.per_epoch)]

    assert {len(labels) for _, labels in epoch} == sizes
    seen = torch.cat([images for images, _ in epoch])
    training, _ = split(150, 0.1, seed=1)
    expected = few_digits.x_train[training]
    assert sorted(seen.flatten(1).tolist()) == sorted(expected.flatten(1).tolist())


def test_batches_are_never_of_one_image(few_digits: Dataset) -> None:
    some = batches(few_digits, batch_size=2)

    assert min(len(some.get(0, index)[1]) for index in range(some.per_epoch)) == 2


def test_order_differs_between_epochs_and_stages(few_digits: Dataset) -> None:
    some = batches(few_digits, batch_size=50)
    first, second = some.get(0, 0)[0], some.get(1, 0)[0]

    assert not torch.equal(first, second)
    assert torch.equal(first, batches(few_digits, batch_size=50).get(0, 0)[0])
    assert not torch.equal(first, batches(few_digits, "search", batch_size=50).get(0, 0)[0])


def test_networks_have_orders_of_their_own_and_batches_of_one_size(few_digits: Dataset) -> None:
    some, again = batches(few_digits, batch_size=40), batches(few_digits, batch_size=40)
    again.get(1, 2, "b")  # nothing depends on what was asked for before

    for index in range(some.per_epoch):
        a, b, all_of_them = (some.get(0, index, *name) for name in (("a",), ("b",), ()))
        assert len(a[1]) == len(b[1]) == len(all_of_them[1])
        assert not torch.equal(a[0], b[0])
        assert not torch.equal(a[0], all_of_them[0])
        assert torch.equal(a[0], again.get(0, index, "a")[0])
        assert torch.equal(all_of_them[0], again.get(0, index)[0])
    seen = torch.cat([some.get(0, index, "a")[0] for index in range(some.per_epoch)])
    whole = torch.cat([some.get(0, index)[0] for index in range(some.per_epoch)])
    assert sorted(seen.flatten(1).tolist()) == sorted(whole.flatten(1).tolist())
