"""Enlarged grids cost what their result costs, however long a side is."""

import pytest
import torch
from npas.plans import Bank, Group, Slot
from npas.recipes import find
from npas.recipes._enlarge import Enlarger


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((5, 7), (5, 7)), ((9, 4), (2, 3)), ((3, 3), (4, 7)), ((40_000, 3), (39_000, 2))],
)
def test_enlarges_as_image_libraries_do_and_back(shape, grid):
    cells = torch.randn(*grid, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    enlarger = Enlarger(shape, grid)
    found = enlarger.compose(cells.flatten())
    how = {"mode": "bilinear", "align_corners": False}
    wanted = torch.nn.functional.interpolate(cells.permute(2, 0, 1)[None], shape, **how)
    torch.testing.assert_close(found, wanted[0].permute(1, 2, 0))
    back = enlarger.pull_back(found)
    torch.testing.assert_close(back @ cells.flatten(), found.flatten() @ found.flatten())


@pytest.mark.slow
def test_small_layers_beside_a_large_one_take_no_room_for_it():
    small = [(1, 1)] * 3000
    slots = tuple(
        Slot(network="main", layer=f"{row}.weight", shape=shape, rows=(row,))
        for row, shape in enumerate([(2000, 2000), *small])
    )
    bank = Bank(shape=(2000, 2000), size=4_000_000, templates=1, rows=len(slots))
    composer = find("resize")(Group(name="g0", recipe="resize", banks=(bank,), slots=slots))
    templates, mixing = [torch.ones(1, bank.size)], [torch.ones(bank.rows, 1)]
    weights = composer.compose(templates, mixing)  # 48 GB, were it one template for each layer
    (of_templates,), (of_mixing,) = composer.pull_back(templates, mixing, weights)
    assert sum(weight.sum() for weight in weights) == bank.size + len(small)
    assert of_templates.sum() == of_mixing.sum() == bank.size + len(small)
