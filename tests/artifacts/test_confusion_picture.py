import xml.etree.ElementTree as ET

import npas
import pytest
from npas.artifacts import Account, confusion

SVG = "{http://www.w3.org/2000/svg}"


def account(counts, names=None):
    names = names or [f"<{label}>" for label in range(len(counts))]
    said = {"classes": names, "counts": counts, "most_confused": []}
    report = {"architecture": "a & b", "dataset": "mine", "macro_f1": 0.5, "confusion": said}
    return Account(plan=npas.plan("resnet-8"), rows=(), report=report)


def drawn(counts):
    return ET.fromstring(confusion.ARTIFACT.text(account(counts)))


def test_every_cell_is_drawn_with_what_it_means():
    root = drawn([[3, 1], [0, 6]])
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert titles[1:] == [
        "<0> said to be <0>: 3 of 4",
        "<0> said to be <1>: 1 of 4",
        "<1> said to be <0>: 0 of 6",
        "<1> said to be <1>: 6 of 6",
    ]
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert {"3", "1", "6", "<0> (0)", "<1> (1)"} <= set(words)
    assert any("macro F1 50.00 %" in word for word in words)


@pytest.mark.parametrize("classes", [2, 30, 70, 100])
def test_picture_stays_within_its_page(classes):
    root = drawn([[1] * classes] * classes)
    width = float(root.attrib["width"])
    for cell in root.iter(f"{SVG}rect"):
        right = float(cell.attrib.get("x", 0)) + float(cell.attrib["width"])
        assert right <= width


def test_nothing_is_drawn_without_a_matrix():
    plan = npas.plan("resnet-8")
    report = {"confusion": {"classes": [], "counts": None, "most_confused": []}}
    assert confusion.ARTIFACT.text(Account(plan=plan, rows=(), report=report)) is None
    assert confusion.ARTIFACT.text(Account(plan=plan, rows=(), report={})) is None
