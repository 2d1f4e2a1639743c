"""A thing is found by its name: no catch-all modules, no two things of one name in a folder."""

import ast
import re
from collections import defaultdict
from pathlib import PurePosixPath

CATCH_ALL = re.compile(r"^_?(.*_)?(utils?|helpers?|managers?|base|common|misc)$")

ONE_EACH = {
    "core/npas/methods": "METHOD",
    "core/npas/recipes": "RECIPE",
    "core/npas/data": "SOURCE",
    "core/npas/arch/families": "FAMILY",
    "core/npas/artifacts": "ARTIFACT",
    "core/npas/corruptions": "CORRUPTION",
    "core/npas/delivery/exports": "TARGET",
}
"""Folder of a kind, and what each file in it that is found by name must define."""

NAME_TWICE: dict[tuple[str, str], str] = {
    ("core/npas/arch/families", "Block"): "each family has a residual block of its own kind",
    ("core/npas_store", "record"): "one per table, called with its module: metrics.record, ...",
    ("core/npas_store", "beat"): "called with its module: claims.beat for a job, workers.beat",
    ("core/npas_store", "main"): "each program has its entry",
    ("core/npas_local", "main"): "each program has its entry",
    ("api/npas_api", "main"): "each program has its entry",
    ("worker/npas_worker", "main"): "each program has its entry",
    ("client/npas_client", "main"): "each program has its entry",
}
"""(folder, name) that may be defined in several of its modules, and why."""

METHODS, RECIPES = PurePosixPath("core/npas/methods"), PurePosixPath("core/npas/recipes")

NAMED_ELSEWHERE: dict[tuple[str, str], str] = {
    ("core/npas/methods/ssn.py", "random"): "a way to form groups has the method's name",
    ("core/npas/plans/rows.py", "stack"): "its layers have a row for each of their blocks",
    ("core/npas/plans/rows.py", "slice"): "its layers have rows of their own, any number",
    ("core/npas/plans/rows.py", "embed"): "its layers have rows of their own, any number",
    ("core/npas/recipes/embed.py", "slice"): "a part without maps is nothing else",
    ("core/npas/arch/graph/functions.py", "narrow"): "torch has a function of that name",
    ("core/npas/arch/graph/functions.py", "stack"): "torch has a function of that name",
    ("core/npas/spec/__init__.py", "block_mix"): "the default method of a request",
    ("core/npas/spec/__init__.py", "superweights"): "the default method of the first release",
    ("core/npas/planning/planner.py", "block_mix"): "the default of npas.plan",
    ("core/npas/planning/offers.py", "block_mix"): "the default of npas.offered",
    (
        "core/npas/methods/superweights.py",
        "block_mix",
    ): "plans of version 1 called it superweights",
    ("core/npas/spec/training.py", "dense"): "the default teacher is the dense network",
    ("core/npas/spec/sweep_points.py", "dense"): "the baseline of every sweep",
    ("api/npas_api/openapi.py", "block_mix"): "the example of a request",
    ("api/npas_api/openapi.py", "narrow"): "the example of a sweep",
    ("client/npas_client/demo.py", "block_mix"): "the demonstration is of this method",
    ("client/npas_client/demo.py", "dense"): "the demonstration compares with the dense network",
}
"""(file, name) that may spell the name of a method or recipe outside its own file, and why."""

PLAIN_WORDS = {"auto": "options and settings mean by it that a value is chosen for the user"}
"""Names of methods or recipes that stand for something else elsewhere."""


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
    """Map (folder, name) to its places, for names defined in several files of a folder."""
    places = defaultdict(list)
    for source in sources:
        for node in public_definitions(source):
            places[str(source.path.parent), node.name].append(f"{source.path}:{node.lineno}")
    files = {key: {place.partition(":")[0] for place in where} for key, where in places.items()}
    return {key: where for key, where in sorted(places.items()) if len(files[key]) > 1}


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
    """Yield (file, line, name) where the name of a method or recipe stands in another file."""
    names = {
        folder: {s.path.stem for s in sources if found_by_name(s) and s.path.parent == folder}
        for folder in (METHODS, RECIPES)
    }
    for source in sources:
        # Plans name recipes, so methods may.
        known = names[METHODS] | (set() if METHODS in source.path.parents else names[RECIPES])
        for node in ast.walk(source.tree):
            name = node.value if isinstance(node, ast.Constant) else None
            if isinstance(name, str) and name in known and source.path.stem != name:
                yield str(source.path), node.lineno, name


def test_modules_are_named_after_what_they_hold(code):
    lines = [line for source in code for line in catch_all(source)]
    assert not lines, "\n".join(lines)


def test_one_name_is_defined_once_in_a_folder(packages):
    lines = [
        f"{name} is defined more than once in {folder}: {', '.join(where)}"
        for (folder, name), where in same_names(packages).items()
        if (folder, name) not in NAME_TWICE
    ]
    assert not lines, "\n".join(lines)


def test_files_found_by_name_hold_their_kind(packages):
    lines = [line for source in packages for line in without_its_kind(source)]
    assert not lines, "\n".join(lines)


def test_methods_and_recipes_are_known_only_in_their_own_file(packages):
    lines = [
        f"{path}:{line}: {name!r} is known here; only its own file may"
        for path, line, name in spelled_elsewhere(packages)
        if (path, name) not in NAMED_ELSEWHERE and name not in PLAIN_WORDS
    ]
    assert not lines, "\n".join(lines)


def test_every_excuse_is_needed(packages):
    elsewhere = {(path, name) for path, _, name in spelled_elsewhere(packages)}
    assert NAMED_ELSEWHERE.keys() - elsewhere == set()
    assert PLAIN_WORDS.keys() - {name for _, name in elsewhere} == set()
    assert NAME_TWICE.keys() - same_names(packages).keys() == set()


def test_guard_catches_catch_all_modules(source):
    for stem in ("utils", "helper", "_base", "job_manager", "common/jobs"):
        assert len([*catch_all(source("", f"core/npas/{stem}.py"))]) == 1
    assert [*catch_all(source("", "core/npas/database.py"))] == []


def test_guard_catches_a_name_defined_twice(source):
    one = source("def act(): ...\n", "core/npas/one.py")
    two = source("class act: ...\ndef _act(): ...\n", "core/npas/two.py")
    other = source("def act(): ...\n", "core/npas_store/two.py")
    assert list(same_names([one, two, other])) == [("core/npas", "act")]
    assert same_names([one, other]) == {}


def test_guard_catches_a_file_without_its_kind(source):
    assert len([*without_its_kind(source("METHODS = 1", "core/npas/methods/new.py"))]) == 1
    assert [*without_its_kind(source("METHOD: int = 1", "core/npas/methods/new.py"))] == []
    assert [*without_its_kind(source("", "core/npas/methods/_shared.py"))] == []


def test_guard_catches_a_method_or_recipe_known_elsewhere(source):
    method = source('METHOD = 1\nNAME = "new"', "core/npas/methods/new.py")
    recipe = source("RECIPE = 1", "core/npas/recipes/fold.py")
    user = source('RECIPE = "fold"', "core/npas/methods/other.py")
    branch = source('if name == "new" or recipe == "fold": ...', "core/npas/plan.py")
    found = [(path, name) for path, _, name in spelled_elsewhere([method, recipe, user, branch])]
    assert sorted(found) == [("core/npas/plan.py", "fold"), ("core/npas/plan.py", "new")]
    assert [*spelled_elsewhere([method, recipe, user])] == []
