"""Laws of every method over layer tables out of thin air: any shapes, roles, networks, budgets."""

import pytest
from npas import methods, registry
from npas.errors import PlanError
from npas.methods import Allocation, Method
from npas.testing import Effort, check_method_table_law, table_laws
from npas.testing.effort import SHARE

METHODS = registry.names("npas.methods")
EFFORT = Effort(tables=25)

SETTINGS = {
    "dense": [{}],
    "soft_sharing": [
        *({}, {"templates": 1}, {"templates": 3}),
        *({"coefficients": "sparse"}, {"coefficients": "identity", "templates": 2}),
    ],
    "ssn": [
        *({}, {"groups": "single", "upsample": "repeat"}, {"groups": "kind", "upsample": "mask"}),
        *({"groups": "shape", "upsample": "wavg"}, {"groups": "random", "max_windows": 2}),
        {"num_groups": 2, "max_windows": 1, "private": ["stem", "classifier"]},
        {"groups": "single", "share": "emb", "embedding": 2},
    ],
    "block_mix": [
        *({}, {"bins": 1}, {"bins": 1000, "max_templates": 1}, {"private": []}),
        {"private": ["stem", "shortcut", "classifier", "body", "transition"]},
        {"bins": 2, "max_templates": 64, "threshold": -1.0},
        *({"keep_plain": False}, {"search": False, "bins": 3, "bin_by": "layers"}),
    ],
    "superweights": [
        *({}, {"bins": 1}, {"bins": 1000, "max_templates": 1}, {"private": []}),
        {"private": ["stem", "shortcut", "classifier", "body", "transition"]},
        {"bins": 2, "max_templates": 64, "threshold": -1.0},
        {"bins": 3, "bin_by": "layers", "allocation": "normalised"},
        {"allocation": "normalised", "max_templates": 3, "private": []},
        *({"blocks": "nest"}, {"blocks": "stack", "search": False}),
        *({"coefficients": "shared"}, {"coefficients": "joined", "bins": 1}),
    ],
}
"""Options to try, by method; a method that is not named is tried with its defaults."""

CASES = [
    pytest.param(name, options, law, id=f"{name} {options or ''}: {law}")
    for name in METHODS
    for options in SETTINGS.get(name, [{}])
    for law in table_laws(options)
]


@pytest.mark.parametrize(("name", "options", "law"), CASES)
def test_method_keeps_the_law(name, options, law):
    check_method_table_law(law, name, options, effort=EFFORT)


def test_every_method_offers_what_the_protocol_says():
    for name in METHODS:
        method = methods.find(name)
        assert 0 <= method.search_epochs(method.Options(), epochs=1) <= 1
    assert [row["method"] for row in methods.catalogue()] == list(METHODS)


@pytest.mark.parametrize(
    ("options", "epochs", "wanted"),
    [({}, 200, 20), ({}, 3, 1), ({"search_epochs": 7}, 3, 7), ({"search": False}, 200, 0)],
)
@pytest.mark.parametrize("name", ["superweights", "block_mix"])
def test_search_is_as_long_as_the_options_say(name, options, epochs, wanted):
    method = methods.find(name)
    checked = method.Options.model_validate({"search": True, **options})
    assert method.search_epochs(checked, epochs=epochs) == wanted


RIGHT = methods.find("soft_sharing")


class Wrong(Method):
    """A right method with one mistake at a time: the suite must see each."""

    title = "Wrong"
    Options = RIGHT.Options
    mistake = ""
    calls = 0

    def refine_after(self, options, *, epochs):
        return min(1, epochs - 1) if options.templates is None else 0

    def smallest(self, table, options):
        found = RIGHT.smallest(table, options)
        self.calls += 1
        if self.mistake == "loses a layer":
            return Allocation(groups=found.groups, private=found.private[1:])
        if self.mistake == "changes its mind" and self.calls % 2:
            return Allocation(groups=found.groups, private=found.private[::-1])
        return found

    def allocate(self, table, budget, options, *, evidence, stage):
        if self.mistake in ("loses a layer", "changes its mind", "shares at the dense size"):
            return self.smallest(table, options)
        more = 9 if self.mistake == "overshoots" else 0
        found = RIGHT.allocate(table, budget + more, options, evidence=evidence, stage=stage)
        if self.mistake == "leaves rows unread":
            groups = tuple(map(tied, found.groups))
            return Allocation(groups=groups, private=found.private)
        return found

    def refine(self, groups, options, evidence):
        assert options is not None
        assert evidence.batches > 0
        return groups[1:] if self.mistake == "loses a group" else groups


def tied(group):
    """Return the group with all slots on the first row: nobody reads the others."""
    slots = tuple(slot.model_copy(update={"rows": (0,)}) for slot in group.slots)
    return group.model_copy(update={"slots": slots})


MISTAKES = {
    "overshoots": ("keeps the budget and covers every layer", "the budget is"),
    "loses a layer": ("keeps the budget and covers every layer", "layers in no group"),
    "changes its mind": ("the same input gives the same allocation", "two answers"),
    "leaves rows unread": ("every scalar is read", "rows of bank 0 are not those in use"),
    "shares at the dense size": ("the dense size keeps every layer plain", "layers share"),
    "loses a group": ("refinement changes rows alone", "layers in no group"),
}


@pytest.fixture
def wrong(monkeypatch):
    """Put the wrong method in the place of another."""
    module = registry.load("npas.methods", "dense", kind="method")
    monkeypatch.setattr(module, "METHOD", Wrong())


@pytest.mark.slow
@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize(("mistake", "law", "told"), [(m, *of) for m, of in MISTAKES.items()])
def test_suite_sees_a_mistake(monkeypatch, mistake, law, told):
    monkeypatch.delenv(SHARE, raising=False)
    effort = Effort(tables=40, is_shrunk=False)
    check_method_table_law(law, "dense", {}, effort=Effort(tables=5))
    monkeypatch.setattr(Wrong, "mistake", mistake)
    with pytest.raises((AssertionError, PlanError), match=told):
        check_method_table_law(law, "dense", {}, effort=effort)
