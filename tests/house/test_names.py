"""A thing is found by its name: no catch-all modules, no two things of one name in a folder."""

import ast
import re
from collections import defaultdict

CATCH_ALL = re.compile(r"^_?(.*_)?(utils?|helpers?|managers?|base|common|misc)$")

ONE_EACH = {
    "core/npas/methods": "METHOD",
    "core/npas/recipes": "RECIPE",
    "core/npas/data": "SOURCE",
    "core/npas/arch/families": "FAMILY",
}
"""Folder of a kind, and what each file in it that is found by name must define."""

NAME_TWICE: dict[tuple[str, str], str] = {
    ("core/npas/methods", "Options"): "each method describes its own options under this name",
    ("core/npas", "load"): "npas.load of a checkpoint; the registry loads a module",
    ("api/npas_api", "install"): "each part adds itself to the application: problems.install",
    ("core/npas/arch/families", "Options"): "each family describes its own options",
    ("core/npas/arch/families", "Block"): "each family has a residual block of its own kind",
    ("core/npas/arch/families", "role_of"): "each family says what its layers do",
    ("core/npas_store", "record"): "one per table, called with its module: metrics.record, ...",
    ("core/npas_store", "beat"): "called with its module: claims.beat for a job, workers.beat",
    ("core/npas_store", "main"): "each program has its entry",
    ("worker/npas_worker", "main"): "each program has its entry",
    ("client/npas_client", "main"): "each program has its entry",
}
"""(folder, name) that may be defined in several of its modules, and why."""

NAMED_ELSEWHERE: dict[tuple[str, str], str] = {
    ("core/npas/spec.py", "superweights"): "the default method of a request",
    ("core/npas/planner.py", "superweights"): "the default of npas.plan, the same as a request's",
    ("api/npas_api/openapi.py", "superweights"): "the example of a request",
    ("client/npas_client/demo.py", "superweights"): "the demonstration is of this method",
    ("client/npas_client/demo.py", "dense"): "the demonstration compares with the dense network",
}
"""(file, method) that may spell a method's name outside its own file, and why."""


def catch_all(source):
    for part in (*source.path.parts[:-1], source.path.stem):
        if CATCH_ALL.match(part):
            yield f"{source.path}: {part!r} says nothing; name the module after what it holds"


def public_definitions(source):
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in source.tree.body:
        if isinstance(node, definitions) and not node.name.startswith("_"):
            yield node


def same_names(sources):
    places = defaultdict(list)
    for source in sources:
        for node in public_definitions(source):
            places[str(source.path.parent), node.name].append(f"{source.path}:{node.lineno}")
    for key, where in sorted(places.items()):
        if len({place.partition(":")[0] for place in where}) > 1 and key not in NAME_TWICE:
            yield f"{key[1]} is defined more than once in {key[0]}: {', '.join(where)}"


def assigned(source):
    """The names that a module assigns at its top level."""
    for node in source.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def found_by_name(source):
    """Whether the registry offers this file: it stands in a folder of a kind, under a name."""
    return str(source.path.parent) in ONE_EACH and not source.path.stem.startswith("_")


def without_its_kind(source):
    if found_by_name(source):
        needed = ONE_EACH[str(source.path.parent)]
        if needed not in assigned(source):
            yield f"{source.path}: a file found by its name must define {needed}"


def spelled_elsewhere(sources):
    folder = "core/npas/methods"
    methods = {s.path.stem for s in sources if found_by_name(s) and str(s.path.parent) == folder}
    for source in sources:
        for node in ast.walk(source.tree):
            name = node.value if isinstance(node, ast.Constant) else None
            if not isinstance(name, str) or name not in methods:
                continue
            place = str(source.path)
            if source.path.stem != name and (place, name) not in NAMED_ELSEWHERE:
                yield f"{place}:{node.lineno}: {name!r} is known here; only its own file may"


def test_modules_are_named_after_what_they_hold(code):
    lines = [line for source in code for line in catch_all(source)]
    assert not lines, "\n".join(lines)


def test_one_name_is_defined_once_in_a_folder(packages):
    lines = [*same_names(packages)]
    assert not lines, "\n".join(lines)


def test_files_found_by_name_hold_their_kind(packages):
    lines = [line for source in packages for line in without_its_kind(source)]
    assert not lines, "\n".join(lines)


def test_methods_are_known_only_in_their_own_file(packages):
    lines = [*spelled_elsewhere(packages)]
    assert not lines, "\n".join(lines)


def test_guard_catches_catch_all_modules(source):
    for stem in ("utils", "helper", "_base", "job_manager", "common/jobs"):
        assert len([*catch_all(source("", f"core/npas/{stem}.py"))]) == 1
    assert [*catch_all(source("", "core/npas/database.py"))] == []


def test_guard_catches_a_name_defined_twice(source):
    one = source("def act(): ...\n", "core/npas/one.py")
    two = source("class act: ...\ndef _act(): ...\n", "core/npas/two.py")
    other = source("def act(): ...\n", "core/npas_store/two.py")
    assert len([*same_names([one, two, other])]) == 1
    assert [*same_names([one, other])] == []


def test_guard_catches_a_file_without_its_kind(source):
    assert len([*without_its_kind(source("METHODS = 1", "core/npas/methods/new.py"))]) == 1
    assert [*without_its_kind(source("METHOD: int = 1", "core/npas/methods/new.py"))] == []
    assert [*without_its_kind(source("", "core/npas/methods/_shared.py"))] == []


def test_guard_catches_a_method_known_elsewhere(source):
    method = source('METHOD = 1\nNAME = "new"', "core/npas/methods/new.py")
    branch = source('if name == "new": ...', "core/npas/plan.py")
    assert len([*spelled_elsewhere([method, branch])]) == 1
    assert [*spelled_elsewhere([method])] == []
