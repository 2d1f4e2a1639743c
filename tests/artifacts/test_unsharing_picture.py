"""The picture of what sharing costs: bars stand where losses fall, and lie in the picture."""

import xml.etree.ElementTree as ET

import npas
import pytest
from npas.artifacts.unsharing import unsharing_svg
from npas.delivery.allocation_report import allocation_of
from npas.testing.networks import several

SVG = "{http://www.w3.org/2000/svg}"


def allocation(networks, changes, left_out=0):
    """What a report has of a plan, its layers with some loss changes in turn."""
    plan = npas.plan(networks, budget={"fraction": 0.3}, method="uniform")
    found = allocation_of(plan, "").model_dump(mode="json")
    shared = [row for row in found["layers"] if row["group"]]
    for index, row in enumerate(shared[left_out:]):
        row["measured"] = {
            "loss_change": changes[index % len(changes)],
            "standard_error": 0.001,
            **{"own_change": 0.0, "shared_change": 0.0, "parameters": 1000},
        }
    found["measuring"] = {
        **{"images": 100, "are_held_out": True, "step_images": 64, "steps": 4, "loss": 1.0},
        **{"layers": len(shared) - left_out, "layers_left_out": left_out, "step_share": 0.05},
    }
    return found


def rects(svg):
    """Return the boxes that have a title, by it."""
    return {
        title.text: {k: float(r.get(k)) for k in ("x", "y", "width", "height")}
        for r in ET.fromstring(svg).iter(f"{SVG}rect")
        if (title := r.find(f"{SVG}title")) is not None
    }


@pytest.mark.parametrize(
    "changes", [(-0.01, 0.004), (-0.5,), (0.25,), (0.0,), (1e-9, -1e-9), (-300.0, 2.0)]
)
@pytest.mark.parametrize("names", [("resnet-8",), ("resnet-20", "resnet-8"), ("resnet-110",)])
def test_all_lies_in_the_picture(names, changes):
    svg = unsharing_svg(allocation(several(*names), changes), "a title")
    page = ET.fromstring(svg)
    wide, tall = float(page.get("width")), float(page.get("height"))
    for box in rects(svg).values():
        assert 0 <= box["x"] <= box["x"] + box["width"] <= wide
        assert 0 <= box["y"] <= box["y"] + box["height"] <= tall
    for line in page.iter(f"{SVG}line"):
        assert all(0 <= float(line.get(side)) <= wide for side in ("x1", "x2"))
        assert all(0 <= float(line.get(side)) <= tall for side in ("y1", "y2"))


def test_every_layer_is_a_mark_and_bars_are_as_high_as_the_loss_falls():
    found = allocation(several("resnet-20"), (-0.02, 0.01))
    boxes = rects(unsharing_svg(found, "a title"))
    assert len(boxes) == len(found["layers"])
    heights = {"+0.02000": set(), "-0.01000": set()}
    ends = {"+0.02000": set(), "-0.01000": set()}
    for title, box in boxes.items():
        for gain in heights:
            if f": {gain} nats lower" in title:
                heights[gain].add(box["height"])
                ends[gain].add(round(box["y"] + box["height"] * (gain[0] == "+"), 1))
    (tall,), (short,) = heights.values()
    assert tall == pytest.approx(2 * short, rel=1e-2)
    assert ends["+0.02000"] == ends["-0.01000"]  # the line at 0


def test_layers_that_were_not_measured_and_plain_ones_are_told_apart():
    found = allocation(several("resnet-20"), (-0.02,), left_out=3)
    titles = list(rects(unsharing_svg(found, "a title")))
    assert sum("not measured" in title for title in titles) == 3
    plain = sum(row["group"] is None for row in found["layers"])
    assert sum(title.endswith("not shared") for title in titles) == plain > 0
    assert "3 layers were not measured" in unsharing_svg(found, "a title")


def test_training_images_are_called_so():
    found = allocation(several("resnet-8"), (-0.02,))
    assert "100 held-out images" in unsharing_svg(found, "a title")
    found["measuring"]["are_held_out"] = False
    assert "100 training images" in unsharing_svg(found, "a title")
