import xml.etree.ElementTree as ET

import npas
import pytest
import torch
from npas.artifacts.similarity import similarity_svg
from npas.folding.similarity import History

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


def test_cells_are_as_dark_as_layers_are_alike() -> None:
    plan, history = recorded(1)
    rows = torch.tensor([[1.0, 0.0, 0.0, 1.0]] * 2 + [[0.0, 0.0, 1.0, 0.5]] * 2)
    history.matrices = {"g0": [rows]}

    page = ET.fromstring(similarity_svg(plan, history, "t"))
    filled = {p.attrib["fill"]: p.attrib["d"].count("M") for p in page.iter(f"{SVG}path")}

    assert sorted(filled.values()) == [2, 6]  # two of a half; six runs of ones
    assert {"#08306b", "#6daed5"} == set(filled)


def test_a_picture_of_many_layers_stays_small() -> None:
    plan, history = recorded(6, "wrn-118-1")

    svg = similarity_svg(plan, history, "t")

    assert len(svg) < 1_000_000
    assert "the first 32 layers" in svg
    page = ET.fromstring(svg)
    height = float(page.attrib["height"])
    for box in page.iter(f"{SVG}rect"):
        assert 0 <= float(box.get("x", 0)) <= 960 - float(box.attrib["width"])
        assert 0 <= float(box.get("y", 0)) <= height - float(box.attrib["height"])
