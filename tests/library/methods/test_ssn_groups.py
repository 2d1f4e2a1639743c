"""Groups of `ssn` that a request names itself."""

import npas
import pytest
from npas.errors import InvalidSpecError
from npas.spec import PlanRequest


def asked(manual):
    method = {"name": "ssn", "groups": "manual", "manual": manual}
    request = {"architecture": "resnet-8", "budget": {"fraction": 0.5}, "method": method}
    return npas.plan(PlanRequest.model_validate(request))


def test_lists_as_json_has_them_are_groups():
    plan = asked([["*.conv1.weight", "*.conv1.*"], ["main/*conv2*"]])
    names = [{slot.layer.rpartition(".")[0][-5:] for slot in g.slots} for g in plan.groups]
    assert names == [{"conv1"}, {"conv2"}]
    assert npas.plan("resnet-8", budget=plan.ledger.budget, method="ssn", **plan.options) == plan


@pytest.mark.parametrize(
    ("manual", "field"),
    [
        ([["*"], ["nope"]], "/method/manual/1"),
        ([["*", 1]], "/method/manual/0/1"),
        (["*"], "/method/manual/0"),
        ([["*"] * 600, ["*"] * 401], "/method/manual"),
    ],
)
def test_field_of_a_wrong_group_is_named(manual, field):
    with pytest.raises(InvalidSpecError) as caught:
        asked(manual)
    assert caught.value.field == field


@pytest.mark.parametrize("manual", [{}, {"manual": []}, {"manual": [[]]}, {"manual": [["*"], []]}])
def test_manual_groups_without_names_are_refused(manual):
    with pytest.raises(
        InvalidSpecError, match="needs the names of layers for each group"
    ) as caught:
        npas.plan("resnet-8", budget={"fraction": 0.5}, method="ssn", groups="manual", **manual)
    assert caught.value.field == "/method/manual"


@pytest.mark.parametrize("groups", [{}, {"groups": "shape"}])
def test_names_for_other_groups_are_refused(groups):
    with pytest.raises(InvalidSpecError, match='with groups "manual" only') as caught:
        npas.plan("resnet-8", budget={"fraction": 0.5}, method="ssn", manual=[["*"]], **groups)
    assert caught.value.field == "/method/manual"


@pytest.mark.parametrize("groups", ["typo", 3])
def test_groups_that_are_not_known_are_refused_alone(groups):
    with pytest.raises(InvalidSpecError, match="learned") as caught:
        npas.plan("resnet-8", method="ssn", manual=[["*"]], groups=groups)
    assert caught.value.field == "/method/groups"


def test_option_that_may_be_a_number_or_a_word_says_both():
    with pytest.raises(InvalidSpecError, match="valid integer or 'auto'; given: 'ten'") as caught:
        npas.plan("resnet-8", method="ssn", search_epochs="ten")
    assert caught.value.field == "/method/search_epochs"
