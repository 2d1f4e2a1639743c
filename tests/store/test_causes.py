"""The table of causes: whole, documented, and what stored rows of earlier releases mean."""

import ast
import re
from pathlib import Path

import pytest
from npas_store.causes import CAUSES, cause, shown
from npas_store.checks import INVALID
from npas_store.retries import most
from npas_store.settings import settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reasons.md"

TRIES = {"none": "none", "few": "3", "many": "`NPAS_MAX_ATTEMPTS`", "any": "until it works"}
ADJUSTS = {
    None: "",
    "micro_batches": "smaller micro-batches",
    "learning_rate_factor": "a lower rate, once",
}


def test_page_of_reasons_is_the_table():
    of_jobs, _, _ = PAGE.read_text().partition("\n## ")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|$", of_jobs, re.M)
    told = [(code, [cell.strip() for cell in rest.split(" | ")]) for code, rest in rows]
    assert told == [
        (
            known.code,
            [
                known.means,
                known.blame,
                TRIES[known.tries],
                ADJUSTS[known.adjusts] or "-",
                "yes" if known.retryable else "no",
                ", ".join(f"`{name}`" for name in known.former) or "-",
            ],
        )
        for known in CAUSES
    ]


OF_DATASETS = {"checking.py", "checks.py", "uploads.py"}
OF_EXPORTS = {"exporting.py", "exports.py"}
"""Files whose reasons are told of what was sent, and of exports, which have codes of their own."""


def codes_of_reasons(files=None):
    """Return the codes of reasons in files of these names; None: in all others, those of jobs."""
    codes = set()
    for folder in ("core/npas_store", "core/npas_local", "api", "worker"):
        for file in (ROOT / folder).rglob("*.py"):
            is_of_others = file.name in OF_DATASETS | OF_EXPORTS
            if is_of_others if files is None else file.name not in files:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                called, first = ast.unparse(node.func), node.args[0]
                if called.rpartition(".")[2] == "reason":
                    # A variable's reason was made by another call, but for this constant.
                    named = INVALID if ast.unparse(first) == "INVALID" else None
                    codes.add(first.value if isinstance(first, ast.Constant) else named)
    return codes - {None}


def codes_told(title):
    """Return the codes in the table of one section of the page."""
    _, _, rest = PAGE.read_text().partition(f"\n## {title}\n")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"^\| `(\w+)` \|", section, re.M)


def test_every_reason_has_its_cause():
    used = codes_of_reasons()
    assert used >= {"worker_lost", "disk_full", "user_cancelled", "oom_host"}
    assert used - {known.code for known in CAUSES} == set()


def test_page_tells_the_reasons_of_datasets():
    assert sorted(codes_told("Of datasets")) == sorted(codes_of_reasons(OF_DATASETS))


def test_page_tells_the_reasons_of_exports():
    assert sorted(codes_told("Of exports")) == sorted(codes_of_reasons(OF_EXPORTS))


@pytest.mark.parametrize(
    ("title", "file", "given"),
    [
        ("Of points that a sweep left out", "api/npas_api/sweep_planning.py", r'_reason\("(\w+)"'),
        ("Of jobs that wait", "core/npas_store/queue_places.py", r'return "(\w+)", '),
    ],
)
def test_page_tells_the_codes_of(title, file, given):
    assert codes_told(title) == [*dict.fromkeys(re.findall(given, (ROOT / file).read_text()))]


def test_codes_are_unique():
    codes = [code for known in CAUSES for code in known.codes]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("known", CAUSES, ids=lambda known: known.code)
def test_every_cause_says_what_to_do(known):
    assert known.hint
    assert known.means
    assert known.blame != "user" or known.tries == "none"


@pytest.mark.parametrize(
    ("former", "code"),
    [
        ("gpu_out_of_memory", "oom_gpu"),
        ("out_of_memory", "oom_host"),
        ("device_failed", "device_unusable"),
        ("dataset_unusable", "invalid_data"),
        ("infeasible_budget", "budget_infeasible"),
    ],
)
def test_reason_of_an_earlier_release_is_told_as_one_of_today(former, code):
    stored = {"code": former, "message": "m", "hint": "h", "field": "/f"}
    assert shown(stored) == {**stored, "code": code, "retryable": cause(code).retryable}
    assert cause(former) is cause(code)


def test_reason_of_a_later_release_is_read_as_it_is():
    stored = {"code": "of_tomorrow", "message": "m"}
    assert shown(stored) == {**stored, "hint": "", "field": "", "retryable": True}
    assert cause("of_tomorrow").tries == "few"
    assert shown(None) is None


def test_caps_are_those_of_the_settings():
    assert [most(tries) for tries in ("none", "few", "many")] == [0, 3, settings().max_attempts]
    assert most("any") == float("inf")
