import json
import xml.etree.ElementTree as ET

import npas
from npas.artifacts import Account
from npas.artifacts.plans import plans_json
from npas.artifacts.refinements import refinements_svg
from npas.sharing.untying import separated
from npas.spec import ArchitectureSpec, NetworkSpec

SVG = "{http://www.w3.org/2000/svg}"
NETWORKS = [
    NetworkSpec(name=name, architecture=ArchitectureSpec(name=architecture))
    for name, architecture in (("deep", "resnet-20"), ("flat", "resnet-14"))
]


def plans() -> dict[int, npas.Plan]:
    """The groups of 2 are those of 1 in another order, under other names."""
    plan = npas.plan(
        NETWORKS, budget={"fraction": 0.4}, method="superweights", coefficients="shared", bins=3
    )
    groups = [g.model_copy(update={"name": f"g{i}"}) for i, g in enumerate(reversed(plan.groups))]
    renamed = plan.model_copy(update={"groups": tuple(groups)})
    return {1: plan, 2: renamed, 3: separated(plan)}


def cells(svg: str) -> list[tuple[str, str]]:
    """Return the note and the colour of every layer, in the order they are drawn."""
    rects = [rect for rect in ET.fromstring(svg).iter(f"{SVG}rect") if len(rect)]
    return [(rect[0].text or "", rect.attrib["fill"]) for rect in rects]


def test_every_plan_shows_every_layer_with_what_it_shares() -> None:
    found = cells(refinements_svg(plans(), "plans"))

    for number, plan in enumerate(plans().values()):
        notes = [note for note, _ in found[number * len(found) // 3 :][: len(found) // 3]]
        for group in plan.groups:
            for slot in group.slots:
                assert any(
                    n.startswith(f"{slot.layer}: {group.name}, coefficients ") for n in notes
                )
        own = sum(note.endswith("not shared") for note in notes)
        assert own == len(plan.private)


def test_a_group_keeps_its_colour_whatever_it_is_called() -> None:
    found = cells(refinements_svg(plans(), "plans"))
    third = len(found) // 3

    colours = [[colour for _, colour in found[n * third :][:third]] for n in range(3)]

    assert colours[0] == colours[1] == colours[2]
    assert len(set(colours[0])) > 2


def test_letters_tell_which_coefficients_are_shared() -> None:
    found = cells(refinements_svg(plans(), "plans"))
    third = len(found) // 3

    shared = {note.partition(": ")[2] for note, _ in found[:third]}
    apart = {note.partition(": ")[2] for note, _ in found[2 * third :]}

    assert len(apart) > len(shared)


def test_picture_says_what_each_plan_is_and_how_large() -> None:
    svg = refinements_svg(plans(), "plans of <two>")

    assert "plans of &lt;two&gt;" in svg
    for plan in plans().values():
        assert f"parameters: {plan.ledger.total:,}" in svg
    assert svg.count("layers that moved: 0") == 2


def test_plans_come_back_from_their_file() -> None:
    account = Account(plan=plans()[3], rows=(), report={}, plans=plans())

    found = json.loads(plans_json(account) or "")

    kept = {row["version"]: npas.Plan.from_json(json.dumps(row["plan"])) for row in found}
    assert kept == plans()
    assert plans_json(Account(plan=plans()[3], rows=(), report={})) is None
