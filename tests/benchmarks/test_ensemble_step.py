"""The benchmark of a step of several networks: what is timed does what it is called."""

import npas
import pytest
import torch
from npas.sharing.model import SharedModel
from npas.spec import ArchitectureSpec, NetworkSpec

from benchmarks.ensemble_step import METHODS, Batch, ensemble_row, ensemble_step, sets, works
from benchmarks.ensembles.settings import setting

TINY = tuple(
    NetworkSpec(
        name=name,
        architecture=ArchitectureSpec(name="wrn-10-1", input_size=8, options={"scale": scale}),
    )
    for name, scale in (("wide", 0.5), ("slim", 0.25))
)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    return Batch.drawn(4, 8, "cpu")


def test_networks_are_those_of_the_other_benchmark_and_four_whole_ones() -> None:
    found = list(sets().values())

    assert found[:2] == [
        each.networks for each in setting("small", "cifar10").configurations.values()
    ]
    assert [each.name for each in found[2]] == ["wrn-16-2", "wrn-16-1", "wrn-10-2", "wrn-10-1"]


def test_one_at_a_time_takes_as_many_steps_as_there_are_networks(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []
    whole = SharedModel.members

    def members(self, x, names=None):  # type: ignore[no-untyped-def]  # as in the class
        found = whole(self, x, names)
        ran.append(tuple(found))
        return found

    monkeypatch.setattr(SharedModel, "members", members)
    all_works = works(TINY, METHODS["block_mix"], batch, "cpu")

    counted = {}
    for name, work in all_works.items():
        ran.clear()
        work()
        counted[name] = list(ran)

    both = ("wide", "slim")
    assert counted["dense"] == []
    assert counted["own"] == counted["each"] == [("wide",), ("slim",)]
    assert counted["all"] == counted["mutual"] == [both]


def test_a_step_moves_the_weights_and_mutual_moves_them_elsewhere(batch: Batch) -> None:
    def moved(mutual: float) -> torch.Tensor:
        model = _bank()
        before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        ensemble_step(model, batch, 8, mutual=mutual)()
        return torch.nn.utils.parameters_to_vector(model.parameters()).detach() - before

    alone, mutual = moved(0), moved(0.3)

    assert alone.norm() > 0
    assert not torch.allclose(alone, mutual)


def _bank() -> SharedModel:
    plan = npas.plan(list(TINY), budget={"fraction": 0.6})
    return npas.share({n.name: npas.build(n.architecture, seed=0) for n in TINY}, plan)


def test_a_row_has_a_number_for_every_column() -> None:
    row = ensemble_row("two", TINY, 4, "superweights", 1, "cpu")

    assert row[:3] == ["two (2)", "4", "superweights"]
    assert all(float(number) > 0 for number in row[3:])
    assert len(row) == 8
