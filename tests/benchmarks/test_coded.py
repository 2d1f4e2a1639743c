"""`benchmarks.coded`: its requests, and what it makes of records."""

import pytest

from benchmarks.coded import report
from benchmarks.coding.report import StoredCodings, coding_table, verdicts
from benchmarks.coding.settings import BUDGETS, cells, coding_setting


def record(arm, budget, seed, accuracy):
    return {
        "arm": arm,
        "budget_bytes": budget,
        "seed": seed,
        "status": "done",
        "accuracy": accuracy,
        "accuracy_before_rounding": accuracy + 0.01,
        "parameters": 1000,
        "bits": 3.5,
        "file_bytes": budget - 10,
        "test_images": 100,
        "device": "cpu",
    }


@pytest.fixture
def stored():
    """Two seeds of each cell; sharing is four points ahead, then two."""
    records = [
        record(arm, budget, seed, 0.5 + (arm == "shared") * (0.04 - 0.02 * seed))
        for arm in ("shared", "dense")
        for budget in BUDGETS
        for seed in (0, 1)
    ]
    return StoredCodings(coding_setting("small", "cifar10").to_json(), records)


def test_cells_are_all_arms_of_each_seed_with_equal_bytes():
    wanted = cells(3)
    assert len(wanted) == len({cell.name for cell in wanted}) == 21
    setting = coding_setting("small", "cifar10")
    asked = [setting.job(cell) for cell in wanted]
    assert {job.budget.bytes for job in asked} == set(BUDGETS)
    assert all(job.seed == cell.seed for job, cell in zip(asked, wanted, strict=True))


def test_table_and_lead_are_of_equal_bytes(stored):
    lead = stored.lead(BUDGETS[0])
    assert (lead.mean, lead.count) == (pytest.approx(0.03), 2)
    text = coding_table(stored)
    assert text.count("ResNet-20, shared") == len(BUDGETS)
    assert "24,000" in text
    assert "+3.0" in verdicts(stored)


def test_report_writes_its_section(stored, tmp_path):
    from benchmarks.runs import write

    folder = tmp_path / "records" / "cifar10-small"
    write(folder / "setting.json", stored.setting)
    for each in stored.records:
        write(folder / f"{each['arm']}-{each['budget_bytes']}-{each['seed']}.json", each)
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n<!-- coded -->\n<!-- /coded -->\n")
    report(tmp_path / "records", page)
    assert "nothing shared" in page.read_text()
    assert "MLPerf Tiny" not in page.read_text()  # it stands beside the line of ResNet-8
    write(folder / "reference-96000-0.json", record("reference", 96_000, 0, 0.5))
    report(tmp_path / "records", page)
    assert "MLPerf Tiny" in page.read_text()
