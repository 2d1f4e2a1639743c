"""Tests run, all of them, against the real thing."""

import ast

BANNED_IMPORTS = {"mock", "unittest.mock", "pytest_mock"}
BANNED_MARKS = {"skip", "skipif", "xfail", "importorskip"}


def evasions(source):
    if source.path.parts[0] != "tests":
        return
    if source.path.name == "__init__.py":
        yield f"{source.path}: tests are no package"
    for node in ast.walk(source.tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        if BANNED_IMPORTS.intersection(names):
            yield f"{source.path}:{node.lineno}: use the real thing, not a mock"
        if isinstance(node, ast.Attribute) and node.attr in BANNED_MARKS:
            owner = ast.unparse(node.value)
            if owner in ("pytest", "pytest.mark"):
                yield f"{source.path}:{node.lineno}: {owner}.{node.attr}: a test that does not run"


def test_tests_run_against_the_real_thing(code):
    lines = [line for source in code for line in evasions(source)]
    assert not lines, "\n".join(lines)


def test_guard_catches_evasions(source):
    for line in (
        "import pytest\n@pytest.mark.skip\ndef test_it(): ...",
        "import pytest\n@pytest.mark.xfail(reason='x')\ndef test_it(): ...",
        "import pytest\ndef test_it():\n    pytest.skip('no')",
        "from unittest import mock",
        "from unittest.mock import patch",
        "import unittest.mock",
    ):
        assert len([*evasions(source(line, "tests/plan/test_plan.py"))]) == 1
    assert len([*evasions(source("", "tests/plan/__init__.py"))]) == 1
    assert [*evasions(source("items.skip()", "tests/plan/test_plan.py"))] == []
