"""What is imported is declared, what is declared is pinned, and the pins name no place."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain

import pytest

OURS = {"npas", "npas_store", "npas_local", "npas_api", "npas_worker", "npas_client", "benchmarks"}
REQUIREMENT = re.compile(r"^[A-Za-z0-9][\w.-]*")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)(\[[\w,-]+\])?==(?P<version>[^\s;\\]+)")


def canonical(name):
    """Spell a distribution's name or a requirement as one name: PyYAML>=6 is pyyaml."""
    return re.sub(r"[-_.]+", "-", REQUIREMENT.match(name)[0]).lower()


def imported(source):
    """Yield (line, top-level package) of each absolute import."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def undeclared(source, declared, providers):
    """Yield each import that neither we, nor Python, nor a declared distribution brings.

    Args:
        declared: canonical names of the distributions that this source may use.
        providers: import name -> the distributions that bring it.
    """
    for line, name in imported(source):
        if name in OURS or name in sys.stdlib_module_names:
            continue
        brought_by = {canonical(dist) for dist in providers.get(name, [name])}
        if not brought_by & declared:
            yield f"{source.path}:{line}: {name} is not in pyproject.toml"


def loose_pins(lock):
    """Yield what is wrong with a lock file: places, and packages without version or hash."""
    for number, line in enumerate(lock.splitlines(), 1):
        if "://" in line or line.lstrip().startswith(("-", "--index", "--find")):
            if not line.lstrip().startswith("--hash=sha256:"):
                yield f"requirements.lock:{number}: names a place or an option: {line.strip()}"
        elif line and line[0] not in " #" and not PIN.match(line):
            yield f"requirements.lock:{number}: not pinned: {line}"
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock):
        match = PIN.match(block)
        if match and "--hash=sha256:" not in block:
            yield f"requirements.lock: {match['name']} has no hash"


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def shipped(project):
    extras = project["project"].get("optional-dependencies", {}).values()
    return {canonical(r) for r in chain(project["project"]["dependencies"], *extras)}


@pytest.fixture(scope="module")
def development(project):
    return {canonical(r) for r in project["dependency-groups"]["dev"]}


def test_imports_are_declared(code, shipped, development):
    providers = packages_distributions()
    lines = []
    for source in code:
        is_shipped = source.package or source.path.parts[0] == "migrations"
        declared = shipped if is_shipped else shipped | development
        lines += undeclared(source, declared, providers)
    assert not lines, "\n".join(lines)


def test_lock_is_hashed_and_names_no_place(root):
    assert [*loose_pins((root / "requirements.lock").read_text())] == []


def test_lock_covers_what_is_declared(root, shipped, development):
    lines = (root / "requirements.lock").read_text().splitlines()
    pinned = {canonical(match["name"]) for line in lines if (match := PIN.match(line))}
    assert (shipped | development) - pinned - OURS == set()


def test_guard_catches_undeclared_imports(source):
    providers = {"yaml": ["PyYAML"], "jinja2": ["Jinja2"]}
    bad = source("import os, jinja2\nfrom npas import plan\nfrom . import x\n")
    assert [*undeclared(bad, {"pyyaml"}, providers)] == [
        "core/npas/example.py:1: jinja2 is not in pyproject.toml"
    ]
    assert [*undeclared(source("import yaml.nodes"), {"pyyaml"}, providers)] == []


def test_guard_catches_loose_pins():
    hashed = "torch==2.10.0 \\\n    --hash=sha256:00\n    # via npas\n"
    assert [*loose_pins(hashed)] == []
    assert len([*loose_pins("torch==2.10.0\n")]) == 1
    assert len([*loose_pins("torch>=2.10\n")]) == 1
    assert len([*loose_pins("--index-url https://example.org/simple\n" + hashed)]) == 1
    assert (
        len([*loose_pins(hashed.replace("torch==2.10.0", "torch @ https://example.org/t"))]) == 1
    )
