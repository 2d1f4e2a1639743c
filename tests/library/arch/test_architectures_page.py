"""docs/architectures.md leaves nothing out."""

import typing
from pathlib import Path

import pytest
from npas import arch
from npas.arch.families._genotypes import GENOTYPES
from npas.arch.layers import KINDS, Role
from npas.spec import declared

PAGE = (Path(__file__).resolve().parents[3] / "docs/architectures.md").read_text()
ITEMS = [item for item in declared.Item.__subclasses__() if "kind" in item.model_fields]


@pytest.mark.parametrize("family", arch.catalogue(), ids=lambda family: family["family"])
def test_every_family_is_there_with_its_options(family):
    row = next(line for line in PAGE.splitlines() if f"`{family['example']}`" in line)
    for option in family["options"]["properties"]:
        assert f"`{option}`" in row or option == "scale" or family["family"] == "torchvision"


def test_every_genotype_kind_and_role_is_there():
    for name in (*(f"cells:{name}" for name in GENOTYPES), *KINDS, *typing.get_args(Role)):
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.__name__)
def test_every_declared_layer_is_there_with_its_fields(item):
    (kind,) = typing.get_args(item.model_fields["kind"].annotation)
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |")]
    for name, field in item.model_fields.items():
        assert name == "kind" or f"`{name}`" in row
        for choice in typing.get_args(field.annotation):
            if isinstance(choice, str) and name != "kind":
                assert f"`{choice}`" in row, choice


def test_all_thirteen_declared_layers_were_looked_at():
    assert len(ITEMS) == 13
