"""Images that are drawn to measure with."""

import torch
from npas.data import sampled


def test_images_are_drawn_without_regard_to_their_order():
    classes = torch.arange(300) // 100
    batches = [*sampled(classes, 60, 20, seed=0)]
    assert [len(batch) for batch in batches] == [20, 20, 20]
    assert torch.cat(batches).bincount().min() > 10
    first = torch.cat([*sampled(classes, 40, 20, seed=0)])
    assert torch.equal(torch.cat(batches)[:40], first)
    assert not torch.equal(torch.cat([*sampled(classes, 40, 20, seed=1)]), first)


def test_each_image_comes_once_and_only_a_lone_batch_is_not_full():
    images = torch.arange(50)
    found = torch.cat([*sampled(images, 1000, 25, seed=0)])
    assert sorted(found.tolist()) == [*range(50)]
    assert [len(batch) for batch in sampled(images, 1000, 20, seed=0)] == [20, 20]
    assert [len(batch) for batch in sampled(images, 7, 20, seed=0)] == [7]
