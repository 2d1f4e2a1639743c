"""Every recipe keeps its promises, held against its slow twin in `twins/<recipe>.py`."""

import runpy
from pathlib import Path

import pytest
import torch
from npas import recipes, registry
from npas.errors import PlanError, UnknownNameError
from npas.plans import Bank
from npas.sharing.group import SharedGroup
from npas.testing import RECIPE_LAWS, Effort, check_recipe, check_recipe_law, group_of
from npas.testing.effort import SHARE

RECIPES = registry.names("npas.recipes")
FILES = {path.stem: path for path in Path(__file__).with_name("twins").glob("*.py")}
TWINS = {name: runpy.run_path(str(path))["TWIN"] for name, path in FILES.items()}
EFFORT = Effort(groups=40)


def test_every_recipe_has_a_twin_and_every_twin_a_recipe():
    assert set(TWINS) == set(RECIPES)


@pytest.mark.parametrize("law", RECIPE_LAWS)
@pytest.mark.parametrize("name", sorted(TWINS))
def test_recipe_keeps_its_promise(name, law):
    check_recipe_law(law, name, TWINS[name], effort=EFFORT)


def test_find_suggests_the_nearest_recipe():
    with pytest.raises(UnknownNameError, match="did you mean nest"):
        recipes.find("nets")


def plain(recipe, shapes, rows, *, of=None, **changes):
    """Return a group with a bank of two templates and two rows for each of some shapes."""
    made_of = [Bank(shape=s, size=n, templates=2, rows=r) for s, n, r in of or shapes]
    return group_of(recipe, made_of, [shape for shape, _, _ in shapes], rows).model_copy(
        update=changes
    )


def broken_groups():
    """Yield groups whose banks do not fit their slots, one fault each."""
    mix = plain("mix", [((2, 3), 6, 2)] * 2, [(0,), (1,)], of=[((2, 3), 6, 2)])
    nest = plain("nest", [((1, 2), 2, 2), ((2, 3), 4, 1)], [(0, None), (1, 0)])
    for group in (mix, nest):
        SharedGroup(group)
        bank, slot = group.banks[0], group.slots[0]
        for fault in ({"size": bank.size + 1}, {"shape": (5, 5)}, {"rows": 0}):
            banks = (bank.model_copy(update=fault), *group.banks[1:])
            yield group.model_copy(update={"banks": banks})
        nobody = slot.model_copy(update={"rows": (None,) * len(group.banks)})
        larger = slot.model_copy(update={"shape": (9, 9)})
        for slots in ((*group.slots, nobody), (larger, *group.slots[1:])):
            yield group.model_copy(update={"slots": slots})
    yield nest.model_copy(update={"recipe": "mix"})
    yield nest.model_copy(update={"banks": nest.banks[::-1]})
    yield nest.model_copy(update={"banks": nest.banks[:1]})


@pytest.mark.parametrize("group", list(broken_groups()))
def test_composer_refuses_banks_that_do_not_fit(group):
    with pytest.raises(PlanError, match="g0"):
        SharedGroup(group)


class Wrong(recipes.find("mix")):
    """A recipe with one mistake at a time: the suite must see each."""

    mistake = ""

    def compose(self, templates, mixing):
        found = super().compose(templates, mixing)
        if self.mistake == "weights":
            found[-1].view(-1)[-1] += 1e-6
        if self.mistake == "memory":
            known = self.__dict__.setdefault("_mine", found)
            return [old.copy_(new) for old, new in zip(known, found, strict=True)]
        return found

    def pull_back(self, templates, mixing, gradients):
        of_templates, of_mixing = super().pull_back(templates, mixing, gradients)
        if self.mistake == "gradients of templates":
            of_templates[0][0, 0] *= 1.001
        if self.mistake == "gradients of mixing":
            of_mixing[0][0, 0] += 0.001
        return of_templates, of_mixing

    def fresh(self, generator):
        scale = 1.3 if self.mistake == "variance" else 1
        return [
            start._replace(templates=start.templates * scale) for start in super().fresh(generator)
        ]

    def part(self, slots):
        group, (bank,) = super().part(slots)
        if self.mistake == "part":
            bank = bank._replace(scalars=torch.arange(group.banks[0].size).flip(0))
        return recipes.Part(group, (bank,))

    def fit(self, weights):
        scale = 1.001 if self.mistake == "fit" else 1
        return [
            start._replace(templates=start.templates * scale) for start in super().fit(weights)
        ]


MISTAKES = {
    "weights": "not the twin's",
    "gradients of templates": "gradient of templates.0",
    "gradients of mixing": "gradient of coefficients.0",
    "variance": "starts at",
    "memory": "in use",
    "fit": "not close",
    "part": "another weight in a part",
}


@pytest.fixture
def wrong(monkeypatch):
    """Put the wrong recipe in the place of the right one."""
    monkeypatch.setattr(registry.load("npas.recipes", "mix", kind="recipe"), "RECIPE", Wrong)


@pytest.mark.slow
@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize(("mistake", "told"), MISTAKES.items())
def test_suite_sees_a_mistake(monkeypatch, mistake, told):
    monkeypatch.delenv(SHARE, raising=False)
    monkeypatch.setattr(Wrong, "mistake", mistake)
    with pytest.raises(AssertionError, match=told):
        check_recipe("mix", TWINS["mix"], effort=Effort(groups=8, is_shrunk=False))


def test_suite_sees_a_twin_of_another_recipe():
    with pytest.raises(AssertionError, match="the twin of nest draws groups of mix"):
        check_recipe("nest", TWINS["mix"], effort=Effort(groups=1))


def test_no_random_state_of_torch_is_touched():
    before = torch.get_rng_state()
    check_recipe("mix", TWINS["mix"], effort=Effort(groups=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_stack_refuses_blocks_that_are_mostly_border():
    """Many tiny layers beside a large one: the blocks would be far larger than the weights."""
    shapes = [(100, 100), *[(1, 1)] * 200]
    bank = Bank(shape=(100, 100), size=10_000, templates=1, rows=201)
    group = group_of("stack", [bank], shapes, [[row] for row in range(201)])
    with pytest.raises(PlanError, match="too large"):
        SharedGroup(group)
