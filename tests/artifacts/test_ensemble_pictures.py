"""Pictures of several networks: what stands in them, and that they can be drawn of anything."""

import xml.etree.ElementTree as ET

import pytest
from npas.artifacts.disagreement import disagreement_svg
from npas.artifacts.ensemble_cost import cost_svg
from npas.artifacts.reliability import reliability_svg

SVG = "{http://www.w3.org/2000/svg}"


def words(svg):
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def ids(svg):
    return {element.get("id", "") for element in ET.fromstring(svg).iter()}


def subset(networks, macs, accuracy, *, best=False):
    return {"networks": networks, "macs": macs, "accuracy": accuracy, "is_on_envelope": best}


@pytest.fixture
def ensemble():
    reached = [{"macs": 5.0, "accuracy": 0.5}, {"macs": 9.0, "accuracy": 0.7}]
    return {
        "subsets": [
            subset(["a$b"], 5, 0.5, best=True),
            subset(["c"], 6, 0.4),
            subset(["a$b", "c"], 11, 0.8, best=True),
        ],
        "anytime": {"reached": reached, "stop": {"macs": 7.0, "accuracy": 0.69}},
    }


def test_costs_show_networks_subsets_envelope_ladder_and_stop(ensemble):
    svg = cost_svg(ensemble, "what it costs")
    assert ids(svg) >= {"network", "subset", "envelope", "ladder"}
    assert {"a$b", "c", "stop when confident"} <= set(words(svg))
    ensemble["anytime"]["stop"] = None
    assert "stop when confident" not in words(cost_svg(ensemble, "what it costs"))


def test_reliability_leaves_empty_bins_out():
    bins = {"images": [0, 2, 4], "right": [0, 1, 4], "confidence": [0.0, 0.5, 0.9]}
    shown = [{"network": name, **bins} for name in ("", *"abcdefgh")]
    svg = reliability_svg(shown, "belief")
    assert "all networks together" in words(svg)
    assert "f" in words(svg)
    assert "g" not in words(svg)  # too many lines
    assert "reliability-all" in ids(svg)


def test_disagreement_shows_every_pair():
    svg = disagreement_svg(["one", "other"], [[0.0, 0.25], [0.25, 0.0]], "apart")
    assert {"1 one", "2 other"} <= set(words(svg))
    assert words(svg).count("25.0 %") == 2
    assert (
        disagreement_svg(["one", "other"], [[0.0, 0.0], [0.0, 0.0]], "apart").count("0.0 %") == 4
    )
