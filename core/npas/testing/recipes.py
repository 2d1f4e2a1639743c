"""The promises of a recipe, held against a slow twin written from its equations.

A twin says in NumPy, cell by cell, which weights a group's banks make. All else follows: weights
are linear in the templates and linear in the coefficients, so the twin's own differences are its
exact derivatives, in any direction.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from npas.errors import PlanError
from npas.plans import Bank, Group, Slot
from npas.sharing.group import SharedGroup
from npas.testing.contexts import CONTEXTS
from npas.testing.effort import Effort, tried
from npas.testing.joining import check_joined
from npas.testing.parts import check_part
from npas.testing.reading import backward, num_unread

Array = NDArray[np.float64]
Weights = Callable[[Group, Sequence[Array], Sequence[Array | None]], list[Array]]

NUM_STARTS = 200
"""Fresh starts of one group whose variance is measured."""

NUM_ERRORS = 6
"""Standard errors that a measured mean may lie from what it should be."""

ROUNDING = 1e-5
"""Relative error of float32 that counts where every start has exactly the same variance."""


class Twin(NamedTuple):
    """What a recipe is held against.

    Attributes:
        weights: (group, templates, coefficients) -> the weights of all slots, from the equations
            alone. Templates are one (K, D) array per bank, coefficients one (rows, K) array, None
            for a bank without.
        groups: any groups the recipe accepts, small ones: weights of at most some hundred scalars.
        exact: groups whose banks can hold any weights, so that `fit` must be exact; None if the
            recipe has none.
        keeps_unread: whether a part of a group may hold scalars that none of its layers reads.
    """

    weights: Weights
    groups: st.SearchStrategy[Group]
    exact: st.SearchStrategy[Group] | None = None
    keeps_unread: bool = False


Law = Callable[[str, Twin, st.DataObject], None]


@st.composite
def banks(
    draw: st.DrawFn, shape: tuple[int, ...], size: int, users: int, most: int = 5
) -> tuple[Bank, list[int]]:
    """Draw a bank, and the row that each of its users reads: rows of their own, or tied.

    Args:
        draw: hypothesis's.
        shape: that the bank completes.
        size: scalars of one template.
        users: slots that read it.
        most: templates.
    """
    templates, rows = draw(st.integers(1, most)), draw(st.integers(1, users))
    rest = [draw(st.integers(0, rows - 1)) for _ in range(users - rows)]
    chosen = draw(st.permutations([*range(rows), *rest]))
    number = 0 if templates == users == 1 else rows
    return Bank(shape=shape, size=size, templates=templates, rows=number), list(chosen)


def group_of(
    recipe: str,
    made_of: Sequence[Bank],
    shapes: Sequence[tuple[int, ...]],
    rows: Sequence[Sequence[int | None]],
    **settings: Any,
) -> Group:
    """Return a group of one network's slots.

    Args:
        recipe: its name.
        made_of: its banks.
        shapes: one per slot.
        rows: one entry per bank, per slot.
        **settings: of the group.
    """
    slots = [
        Slot(network="main", layer=f"{index}.weight", shape=shape, rows=tuple(row))
        for index, (shape, row) in enumerate(zip(shapes, rows, strict=True))
    ]
    return Group(
        name="g0", recipe=recipe, settings=settings, banks=tuple(made_of), slots=tuple(slots)
    )


def gain_of(group: Group, bank: Bank, slot: Slot, *, mixed: bool) -> float:
    """Return the fixed factor of a layer that reads a bank, for twins.

    The deviation at which the layer starts over that of the bank's templates, Kaiming's where
    the plan says none; over the length of a row of coefficients where there is one.

    Args:
        group: of both.
        bank: that is read.
        slot: of the layer.
        mixed: whether a row of coefficients mixes the templates.
    """
    start = slot.deviation or math.sqrt(2 / math.prod(slot.shape[1:]))
    templates = group.deviation or math.sqrt(2 / math.prod(bank.shape[1:]))
    return start / templates / ((mixed and group.row_length) or 1)


def check_recipe(name: str, twin: Twin, *, effort: Effort | None = None) -> None:
    """Check all promises of a recipe; see `npas.recipes.Composer`.

    Args:
        name: under which plans ask for it, as the twin's groups do.
        twin: its slow twin.
        effort: how hard to look; None: `Effort()`.

    Raises:
        AssertionError: a promise does not hold; a note shows the smallest example.
    """
    for law in RECIPE_LAWS:
        check_recipe_law(law, name, twin, effort=effort)


def check_recipe_law(law: str, name: str, twin: Twin, *, effort: Effort | None = None) -> None:
    """Check one promise of a recipe, by its name in `RECIPE_LAWS`; see `check_recipe`."""
    effort = effort or Effort()
    examples = effort.groups if law not in COSTLY else math.ceil(effort.groups / 4)

    def holds(data: st.DataObject) -> None:
        RECIPE_LAWS[law](name, twin, data)

    tried(holds, examples, effort)


def _drawn(data: st.DataObject, name: str, groups: st.SearchStrategy[Group]) -> Group:
    group = data.draw(groups, label="group")
    assert group.recipe == name, f"the twin of {name} draws groups of {group.recipe}"
    said = st.sampled_from([None, 0.03, 0.2, 1.7])
    slots = [slot.model_copy(update={"deviation": data.draw(said)}) for slot in group.slots]
    scale = {"deviation": data.draw(said), "row_length": data.draw(st.sampled_from([None, 1, 3]))}
    return group.model_copy(update={"slots": tuple(slots), **scale})


def _generator(data: st.DataObject) -> torch.Generator:
    return torch.Generator().manual_seed(data.draw(st.integers(0, 2**32), label="seed"))


def _normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


def _filled(group: Group, generator: torch.Generator) -> SharedGroup:
    """Return the group in float64 with random banks."""
    shared = SharedGroup(group).double()
    with torch.no_grad():
        for parameter in shared.parameters():
            parameter.copy_(_normal(parameter.shape, generator))
    return shared


def _arrays(shared: SharedGroup) -> tuple[list[Array], list[Array | None]]:
    """Return copies of the templates and coefficients, None for a bank without."""
    templates = [template.detach().numpy().copy() for template in shared.templates]
    rest = (alpha.detach().numpy().copy() for alpha in shared.coefficients)
    return templates, [next(rest) if has else None for has in shared._has_coefficients]


def _close(found: Any, wanted: Any, message: str, scale: float = 1.0) -> None:
    """Compare float64 with float64; the tolerance is for another order of the same sums."""
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11 * scale, err_msg=message)


def _weights_are_the_twins(name: str, twin: Twin, data: st.DataObject) -> None:
    group = _drawn(data, name, twin.groups)
    shared = _filled(group, _generator(data))
    wanted = twin.weights(group, *_arrays(shared))
    found = shared()
    assert len(found) == len(wanted) == len(group.slots), "not one weight for every slot"
    for slot, one, other in zip(group.slots, found, wanted, strict=True):
        assert tuple(one.shape) == slot.shape, f"{slot.layer} is {tuple(one.shape)}"
        _close(one.detach().numpy(), other, f"{slot.layer} is not the twin's", 100)


def _gradients_are_the_twins(name: str, twin: Twin, data: st.DataObject) -> None:
    """Along a random direction for every tensor: a wrong gradient is right along almost none."""
    group, generator = _drawn(data, name, twin.groups), _generator(data)
    shared = _filled(group, generator)
    slots = range(len(group.slots))
    used = data.draw(st.sets(st.sampled_from(slots), min_size=1), label="slots in the loss")
    outer = [_normal(slot.shape, generator) for slot in group.slots]
    weights = shared()
    backward(weights[s] * outer[s] for s in sorted(used))
    values = _arrays(shared)
    before = twin.weights(group, *values)
    arrays = [array for kind in values for array in kind if array is not None]
    for array, (tensor, parameter) in zip(arrays, shared.named_parameters(), strict=True):
        direction = _normal(parameter.shape, generator).numpy()
        array += direction
        after = twin.weights(group, *values)
        array -= direction
        moved = [outer[s].numpy() * (after[s] - before[s]) for s in used]
        found = 0.0  # a parameter that nothing in the loss reads has no gradient
        if parameter.grad is not None:
            found = np.sum(parameter.grad.numpy() * direction)
        scale = 1 + float(sum(np.abs(part).sum() for part in moved))
        wanted = float(sum(part.sum() for part in moved))
        _close(found, wanted, f"wrong gradient of {tensor}", 10 * scale)


def _nothing_is_remembered(name: str, twin: Twin, data: st.DataObject) -> None:
    """Buffers are reused: the third call must not see the second."""
    group, generator = _drawn(data, name, twin.groups), _generator(data)
    shared = _filled(group, generator)
    first = _weights_and_gradients(shared)
    state = [parameter.detach().clone() for parameter in shared.parameters()]
    with torch.no_grad():
        for parameter in shared.parameters():
            parameter.copy_(_normal(parameter.shape, generator))
    shared.zero_grad()
    shared()[0].sum().backward()
    with torch.no_grad():
        for parameter, old in zip(shared.parameters(), state, strict=True):
            parameter.copy_(old)
    for one, other in zip(first, _weights_and_gradients(shared), strict=True):
        assert torch.equal(one, other), "the same banks give other weights or gradients"


def _weights_and_gradients(shared: SharedGroup) -> list[Tensor]:
    shared.zero_grad()
    weights = shared()
    kept = [weight.detach().clone() for weight in weights]
    backward(weight * weight for weight in weights)
    return [*kept, *(cast(Tensor, parameter.grad).clone() for parameter in shared.parameters())]


def _every_scalar_is_read(name: str, twin: Twin, data: st.DataObject) -> None:
    group = _drawn(data, name, twin.groups)
    assert num_unread(_filled(group, _generator(data))) == 0, "scalars that move no weight"


def _starts_at_the_deviation_of_its_slots(name: str, twin: Twin, data: st.DataObject) -> None:
    """Mean 0 and the mean square that the slot says, else Kaiming's 2 / fan-in; many seeds."""
    group = _drawn(data, name, twin.groups)
    shared, generator = SharedGroup(group), _generator(data)
    means, squares = np.zeros((2, NUM_STARTS, len(group.slots)))
    for seed in range(NUM_STARTS):
        shared.initialise(generator)
        weights = [weight.detach() for weight in shared()]
        means[seed] = [float(weight.mean()) for weight in weights]
        squares[seed] = [weight.square().mean() for weight in weights]
    for index, slot in enumerate(group.slots):
        wanted = slot.start_deviation**2
        for found, right in ((means[:, index], 0.0), (squares[:, index], wanted)):
            error = found.std() / math.sqrt(NUM_STARTS)
            assert abs(found.mean() - right) <= NUM_ERRORS * error + ROUNDING * wanted, (
                f"{slot.layer} {slot.shape} starts at {found.mean():.4g} +- {error:.2g}, not "
                f"{right:.4g} (mean of the weights, or of their squares)"
            )


def _the_same_seed_gives_the_same_start(name: str, twin: Twin, data: st.DataObject) -> None:
    group = _drawn(data, name, twin.groups)
    seed = data.draw(st.integers(0, 2**32), label="seed")
    shared = [SharedGroup(group), SharedGroup(group)]
    before = torch.get_rng_state()
    for one in shared:
        one.initialise(torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), before), "it draws from torch's own generator"
    for one, other in zip(*(each.parameters() for each in shared), strict=True):
        assert torch.equal(one, other), "the same seed gives another start"


def _fit_is_exact_where_it_can_be(name: str, twin: Twin, data: st.DataObject) -> None:
    """And everywhere finite, the same twice, and free of torch's own generator."""
    exact = data.draw(st.booleans()) and twin.exact is not None
    group = _drawn(
        data, name, cast(st.SearchStrategy[Group], twin.exact) if exact else twin.groups
    )
    shared, generator = SharedGroup(group).double(), _generator(data)
    wanted = [_normal(slot.shape, generator) for slot in group.slots]
    before = torch.get_rng_state()
    shared.fit(wanted)
    found = [weight.detach().clone() for weight in shared()]
    shared.fit(wanted)
    assert torch.equal(torch.get_rng_state(), before), "fit draws from torch's own generator"
    for weight, again in zip(found, shared(), strict=True):
        assert bool(weight.isfinite().all()), "fit gives numbers that are not finite"
        assert torch.equal(weight, again.detach()), "fit gives something else the second time"
    if exact:
        for weight, given in zip(found, wanted, strict=True):
            torch.testing.assert_close(weight, given)


def _keeps_the_precision_of_its_banks(name: str, twin: Twin, data: st.DataObject) -> None:
    group, generator = _drawn(data, name, twin.groups), _generator(data)
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    shared = _filled(group, generator).to(dtype)
    weights = shared()
    backward(weights)
    found = {w.dtype for w in weights} | {cast(Tensor, p.grad).dtype for p in shared.parameters()}
    assert found == {dtype}, f"{dtype} banks give {found}"


def _faults(group: Group) -> Iterator[tuple[str, Group]]:
    """Yield groups with one fault each: what no recipe accepts."""
    slot, bank = group.slots[0], group.banks[0]
    yield (
        "a setting it does not know",
        group.model_copy(update={"settings": {**group.settings, "no_such_setting": 1}}),
    )
    yield "banks that nobody reads", group.model_copy(update={"banks": group.banks * 2})
    bad_rows = {"no rows": (), "negative rows": tuple(r and -1 - r for r in slot.rows)}
    bad_rows["too many rows"] = (*slot.rows, 0)
    if any(one.rows for one in group.banks):
        bad_rows["rows that are not there"] = tuple(
            None if row is None else row + 1000 for row in slot.rows
        )
    for fault, rows in bad_rows.items():
        if rows != slot.rows:
            changed = slot.model_copy(update={"rows": rows})
            yield fault, group.model_copy(update={"slots": (changed, *group.slots[1:])})
    more = bank.model_copy(update={"rows": bank.rows + 2})
    yield "rows that nobody reads", group.model_copy(update={"banks": (more, *group.banks[1:])})


def _refuses_what_does_not_fit(name: str, twin: Twin, data: st.DataObject) -> None:
    """Plans come from files; a damaged one must not become a wrong network."""
    for fault, group in _faults(_drawn(data, name, twin.groups)):
        try:
            SharedGroup(group)
        except PlanError:
            continue
        raise AssertionError(f"it accepts a group with {fault}")


def _parts_make_the_same_weights(name: str, twin: Twin, data: st.DataObject) -> None:
    """Twice over: a part of a part is one, too."""
    group = _drawn(data, name, twin.groups)
    whole = _filled(group, _generator(data))
    for _ in range(2):
        some = st.sets(st.sampled_from(range(len(group.slots))), min_size=1)
        slots = data.draw(some, label="slots of the part")
        group, whole = check_part(group, whole, slots, keeps_unread=twin.keeps_unread)


def _in_context(check: Callable[[SharedGroup], None]) -> Law:
    """Return the law that a check of any filled group makes."""

    def holds(name: str, twin: Twin, data: st.DataObject) -> None:
        check(_filled(_drawn(data, name, twin.groups), _generator(data)))

    return holds


def _layers_that_join_change_no_other(name: str, twin: Twin, data: st.DataObject) -> None:
    group, generator = _drawn(data, name, twin.groups), _generator(data)
    known = [slot.shape for slot in group.slots]
    smaller = [(max(1, s[0] - 1), max(1, s[1] // 2), *s[2:]) for s in known]
    shapes = data.draw(st.lists(st.sampled_from([*known, *smaller]), min_size=1, max_size=3))
    check_joined(group, _filled(group, generator), shapes)


RECIPE_LAWS: dict[str, Law] = {
    "weights are the twin's": _weights_are_the_twins,
    "gradients are the twin's": _gradients_are_the_twins,
    "nothing is remembered": _nothing_is_remembered,
    "every scalar is read": _every_scalar_is_read,
    "starts at the deviation of its slots": _starts_at_the_deviation_of_its_slots,
    "the same seed gives the same start": _the_same_seed_gives_the_same_start,
    "fit is exact where it can be": _fit_is_exact_where_it_can_be,
    "keeps the precision of its banks": _keeps_the_precision_of_its_banks,
    "refuses what does not fit": _refuses_what_does_not_fit,
    "parts make the same weights": _parts_make_the_same_weights,
    "layers that join change no other": _layers_that_join_change_no_other,
    **{law: _in_context(check) for law, check in CONTEXTS.items()},
}
"""The promises of a recipe, by name."""

COSTLY = {"starts at the deviation of its slots", *CONTEXTS}
"""Laws that are tried on a quarter of the examples: many starts, fits or threads for each."""
