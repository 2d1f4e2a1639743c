import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import npas
import pytest
from npas import registry
from npas.artifacts import Account
from npas.artifacts import texts as artifacts_of
from npas.artifacts.allocation import allocation_svg
from npas.artifacts.curve import curve_svg
from npas.errors import MissingPackageError
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec

SVG = "{http://www.w3.org/2000/svg}"


def shapes(svg: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{SVG}{kind}"))


def titles(svg: str) -> list[str]:
    return [element.text or "" for element in shapes(svg, "title")]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in shapes(svg, "text")]


def inside(svg: str) -> bool:
    """Return whether every rectangle lies in the picture."""
    page = ET.fromstring(svg)
    width, height = float(page.attrib["width"]), float(page.attrib["height"])
    boxes = [{k: float(r.get(k, 0)) for k in ("x", "y", "width", "height")} for r in page.iter()]
    return all(
        b["x"] >= 0
        and b["y"] >= 0
        and b["x"] + b["width"] <= width + 0.01
        and b["y"] + b["height"] <= height + 0.01
        for b in boxes
    )


def names(svg: str) -> set[str]:
    """Return what parts of a figure are called."""
    return {element.get("id", "") for element in ET.fromstring(svg).iter()}


def words_are_inside(svg: str) -> bool:
    """Return whether every word of a figure begins in the picture."""
    page = ET.fromstring(svg)
    _, _, width, height = map(float, page.attrib["viewBox"].split())
    places = [
        re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
        or re.search(r"rotate\(\S+ ([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
        for element in shapes(svg, "text")
    ]
    assert places
    return all(
        place is None or (0 <= float(place[1]) <= width and 0 <= float(place[2]) <= height)
        for place in places
    )


def several() -> npas.Plan:
    names = ("wrn-16-2", "wrn-10-2", "wrn-10-1")
    networks = [
        NetworkSpec(name=f"n{i}", architecture=ArchitectureSpec(name=name))
        for i, name in enumerate(names)
    ]
    return npas.plan(networks, budget=500_000)


def test_allocation_has_one_bar_for_each_layer_with_its_group() -> None:
    plan = npas.plan("wrn-16-2", budget=400_000)

    notes = titles(allocation_svg(plan))

    for group in plan.groups:
        for slot in group.slots:
            assert any(
                note.startswith(f"{slot.layer}: ") and note.endswith(f"shares in {group.name}")
                for note in notes
            )
    bars = [
        note for note in notes if note.endswith(("not shared", *(g.name for g in plan.groups)))
    ]
    assert len(bars) == len(plan.private) + sum(len(group.slots) for group in plan.groups)


def test_allocation_says_how_much_is_stored() -> None:
    plan = npas.plan("wrn-16-2", budget=400_000)

    words = " ".join(texts(allocation_svg(plan)))

    assert f"{plan.ledger.total:,} parameters" in words
    assert f"of the dense {plan.ledger.dense:,}" in words
    assert "budget 400,000" in words


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(lambda: npas.plan("resnet-8", method="dense"), id="nothing shared"),
        pytest.param(lambda: npas.plan("resnet-8", budget=10_000_000), id="more than dense"),
        pytest.param(
            lambda: npas.plan("resnet-56", budget=BudgetSpec(fraction=0.5), bins=50),
            id="many groups",
        ),
        pytest.param(
            lambda: npas.plan("torchvision:densenet121", budget=BudgetSpec(fraction=0.5)),
            id="many layers",
        ),
        pytest.param(several, id="several networks"),
    ],
)
def test_allocation_stays_in_the_picture(plan: Any) -> None:
    svg = allocation_svg(plan())

    assert inside(svg)
    assert svg == allocation_svg(plan())


def row(epoch: int, stage: str = "train", **values: float | None) -> dict[str, Any]:
    return {
        "stage": stage,
        "epoch": epoch,
        "epochs": {"search": 2, "train": 8}[stage],
        "train_loss": 2 / epoch,
        "train_accuracy": 1 - 0.5**epoch,
        "validation_accuracy": 0.9 - 0.5**epoch,
    } | values


def test_curve_marks_the_best_epoch_and_the_search() -> None:
    rows = [row(1, "search"), row(2, "search"), *(row(n) for n in range(1, 6))]

    svg = curve_svg([*rows, row(6, validation_accuracy=0.5)], "a <b> & $c$")

    assert "a <b> & $c$" in texts(svg)
    assert " search" in texts(svg)
    assert "best: 86.88 % in epoch 5" in texts(svg)
    assert {"search", "best", "validation-accuracy", "training-loss"} <= names(svg)
    assert words_are_inside(svg)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="none"),
        pytest.param([row(1)], id="one"),
        pytest.param([row(1, "search")], id="searching"),
        pytest.param([row(1, validation_accuracy=None), row(2)], id="without validation"),
        pytest.param([row(1, train_loss=math.nan), row(2, train_loss=1e9)], id="diverged"),
        pytest.param([row(n, train_loss=0.0, train_accuracy=1.0) for n in (1, 2)], id="flat"),
    ],
)
def test_curve_can_be_drawn_at_any_time(rows: list[dict[str, Any]]) -> None:
    svg = curve_svg(rows, "title")

    assert words_are_inside(svg)
    assert svg == curve_svg(rows, "title")
    assert "nan" not in svg
    assert "inf" not in svg


def test_job_without_matplotlib_delivers_no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = npas.plan("resnet-8", method="dense")
    report = {"architecture": "resnet-8", "dataset": "digits", "metric": "accuracy"}
    account = Account(plan=plan, rows=(), report=report)
    assert "curve.svg" in artifacts_of(account)

    monkeypatch.setattr(registry, "is_installed", lambda package: package != "matplotlib")

    assert "curve.svg" not in artifacts_of(account)
    assert "allocation.svg" in artifacts_of(account)
    with pytest.raises(MissingPackageError, match=r"pip install 'npas\[pictures\]'"):
        curve_svg([], "title")
