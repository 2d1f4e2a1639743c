"""Tests run, all of them, against the real thing."""

import ast

BANNED_IMPORTS = {"mock", "unittest.mock", "pytest_mock"}
BANNED_MARKS = {"skip", "skipif", "xfail", "importorskip", "SkipTest"}
OWNERS = {"pytest", "pytest.mark", "unittest"}


def hidden(source, node):
    """Yield imports by which a mark would be written without its owner's name."""
    aliases = node.names if isinstance(node, ast.Import | ast.ImportFrom) else ()
    for alias in aliases:
        if isinstance(node, ast.Import):
            is_hidden = alias.name in OWNERS and alias.asname not in (None, alias.name)
        else:
            is_hidden = node.module in OWNERS and alias.name in {"mark", *BANNED_MARKS}
        if is_hidden:
            yield f"{source.path}:{node.lineno}: import pytest, and write pytest.{alias.name}"


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
        yield from hidden(source, node)
        if BANNED_IMPORTS.intersection(names):
            yield f"{source.path}:{node.lineno}: use the real thing, not a mock"
        if isinstance(node, ast.Attribute) and node.attr in BANNED_MARKS:
            owner = ast.unparse(node.value)
            if owner in OWNERS:
                yield f"{source.path}:{node.lineno}: {owner}.{node.attr}: a test that does not run"


def test_tests_run_against_the_real_thing(code):
    lines = [line for source in code for line in evasions(source)]
    assert not lines, "\n".join(lines)


def test_guard_catches_evasions(source):
    for line in (
        "import pytest\n@pytest.mark.skip\ndef test_it(): ...",
        "import pytest\n@pytest.mark.xfail(reason='x')\ndef test_it(): ...",
        "import pytest\ndef test_it():\n    pytest.skip('no')",
        "import pytest\n@pytest.mark.skipif(True, reason='x')\ndef test_it(): ...",
        "import pytest\ntorch = pytest.importorskip('torch')",
        "import unittest\ndef test_it():\n    raise unittest.SkipTest",
        "from unittest import SkipTest",
        "from pytest import mark",
        "from pytest import skip as leave",
        "import pytest as p",
        "from unittest import mock",
        "from unittest.mock import patch",
        "import unittest.mock",
    ):
        assert len([*evasions(source(line, "tests/plan/test_plan.py"))]) == 1
    assert len([*evasions(source("", "tests/plan/__init__.py"))]) == 1
    assert [*evasions(source("items.skip()", "tests/plan/test_plan.py"))] == []
