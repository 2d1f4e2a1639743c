import base64
import io
import xml.etree.ElementTree as ET

import npas
import numpy as np
import pytest
import torch
from npas.artifacts.similarity import similarity_svg
from npas.folding.similarity import History
from PIL import Image

SVG = "{http://www.w3.org/2000/svg}"


def recorded(epochs: int, name: str = "wrn-22-1") -> tuple[npas.Plan, History]:
    plan = npas.plan(name, method="soft_sharing", templates=2)
    model, history = npas.share(npas.build(name), plan), History()
    for epoch in range(1, epochs + 1):
        for group in model.groups.values():
            group.coefficients[0].data.normal_()
        history.record(model.eval(), epoch)
    return plan, history


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("epochs", "drawn"),
    [(1, [1]), (3, [1, 2, 3]), (9, [1, 3, 5, 7, 9]), (200, [1, 51, 101, 150, 200])],
)
def test_first_last_and_some_epochs_between_are_drawn(epochs: int, drawn: list[int]) -> None:
    plan, history = recorded(1)
    history.epochs = list(range(1, epochs + 1))
    history.matrices = {name: m * epochs for name, m in history.matrices.items()}

    words = texts(similarity_svg(plan, history, "a <b> & c"))

    assert "a <b> & c" in words
    shown = [int(word.split()[1]) for word in words if word.startswith("epoch ")]
    assert shown == drawn * len(plan.groups)


def test_picture_is_the_same_bytes_for_the_same_history() -> None:
    plan, history = recorded(3)
    assert similarity_svg(plan, history, "t") == similarity_svg(plan, history, "t")


def test_matrices_are_drawn_as_they_are() -> None:
    plan, history = recorded(1)
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    history.matrices = {"g0": [rows]}
    (image, *_) = images(similarity_svg(plan, history, "t"))
    assert image.shape[:2] == (2, 2)
    darkness = 255 - image[..., :3].astype(int).sum(axis=2) // 3
    assert darkness[0, 0] > darkness[1, 1] > darkness[0, 1] == darkness[1, 0]


def images(svg: str) -> list[np.ndarray]:
    """Return the images of a picture, the bitmaps of its matrices."""
    name = "{http://www.w3.org/1999/xlink}href"
    found = [element.attrib[name] for element in ET.fromstring(svg).iter(f"{SVG}image")]
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))))
        for data in found
    ]


def test_a_picture_of_many_layers_stays_small() -> None:
    plan, history = recorded(6, "wrn-118-1")

    svg = similarity_svg(plan, history, "t")

    assert len(svg) < 1_000_000
    assert "the first 32 layers" in svg
