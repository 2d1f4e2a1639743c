"""Options that do nothing are warned of, and no others."""

import warnings

import npas
import pytest


@pytest.mark.parametrize(
    ("method", "options", "idle"),
    [
        ("ssn", {"groups": "single", "num_groups": 2}, "num_groups"),
        ("ssn", {"groups": "kind", "search_epochs": 2}, "search_epochs"),
        ("ssn", {"seed": 1}, "seed"),
        ("ssn", {"embedding": 8}, "embedding"),
        ("superweights", {"search": False, "search_epochs": 2}, "search_epochs"),
        ("block_mix", {"search": False, "evidence_batches": 2}, "evidence_batches"),
        ("soft_sharing", {"recurrence_form": "absolute"}, "recurrence_form"),
    ],
)
def test_options_that_others_rule_out_are_warned_of(method, options, idle):
    with pytest.warns(UserWarning, match=f"option {idle} of {method} does nothing"):
        npas.plan("wrn-16-1", budget={"fraction": 0.8}, method=method, **options)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ssn", {"groups": "random", "num_groups": 2, "seed": 1}),
        ("ssn", {"num_groups": 2, "search_epochs": 2, "share": "emb", "embedding": 8}),
        ("superweights", {"search_epochs": 2, "evidence_batches": 2}),
        ("soft_sharing", {"recurrence_form": "absolute", "recurrence": 0.1}),
    ],
)
def test_options_that_have_a_say_are_not(method, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        npas.plan("wrn-16-1", budget={"fraction": 0.8}, method=method, **options)
