"""How wrong estimates were, summed up."""

import random

from npas.spec import JobSpec

from benchmarks.estimates import Judged, requests, table


def judged(basis, ratio, *, is_inside):
    return Judged(
        basis=basis,
        seconds=10.0,
        ratio=ratio,
        is_inside=is_inside,
        width=2.0,
        memory_ratio=1.1,
        file_difference=3,
    )


def test_table_has_a_line_for_each_basis_and_one_for_all():
    rows = [
        judged("kind", 1.0, is_inside=True),
        judged("probe", 4.0, is_inside=False),
        judged("kind", 0.5, is_inside=True),
    ]
    lines = table(rows).splitlines()
    assert lines[2] == "| probe | 1 | 10.0 | 4.00 | 300% | 0% | 2.0 | 1.10 |"
    assert lines[3] == "| kind | 2 | 10.0 | 0.75 | 50% | 100% | 2.0 | 1.10 |"
    assert lines[4] == "| all | 3 | 10.0 | 1.00 | 100% | 67% | 2.0 | 1.10 |"
    assert lines[-1].endswith("3 of 3.")


def test_requests_are_jobs_and_the_same_for_a_seed():
    asked = list(requests(40, random.Random(1)))
    assert asked == list(requests(40, random.Random(1)))
    assert len({str(each["architecture"]) for each in asked}) > 3
    for each in asked:
        JobSpec.model_validate(each)
