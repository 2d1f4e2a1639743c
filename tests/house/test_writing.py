"""Public things say what they are for; nothing is left for later; the text is plain ASCII."""

import ast
import io
import re
import tokenize

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")  # house: these words, as a pattern
IGNORE = re.compile(r"#\s*type:\s*ignore(?P<code>\[[\w,\s-]+\])?(?P<reason>\s*#\s*\S+.*)?")
EXPLAINED_BY_THEIR_CLASS = {"forward", "extra_repr"}
"""Methods of torch modules, whose class says what goes in and out."""


def _public(body, documented, explained=frozenset()):
    """Yield the public definitions of a module or class, less the explained; functions end it."""
    for node in body:
        if not isinstance(node, DEFINITIONS) or node.name.startswith("_"):
            continue
        marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
        if marks & {"overload", "override", "setter"} or node.name in explained:
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            inherited = {name for base in bases for name in documented.get(base, ())}
            yield from _public(node.body, documented, inherited | EXPLAINED_BY_THEIR_CLASS)


def documented_methods(sources):
    """Map each class to the methods that it documents: who overrides one need not say it again."""
    methods = {}
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                found = (n for n in node.body if isinstance(n, DEFINITIONS))
                methods[node.name] = {n.name for n in found if ast.get_docstring(n)}
    return methods


def undocumented(source, documented):
    if source.path.name.startswith("_") and source.path.name != "__init__.py":
        return
    if source.text.strip() and not ast.get_docstring(source.tree):
        yield f"{source.path}:1: the module has no docstring"
    for node in _public(source.tree.body, documented):
        if not ast.get_docstring(node):
            yield f"{source.path}:{node.lineno}: {node.name} has no docstring"


def comments(source):
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def unfinished(source):
    for number, line in enumerate(source.text.splitlines(), 1):
        if LATER.search(line) and "# house:" not in line:
            yield f"{source.path}:{number}: finish it or open an issue: {line.strip()}"
        if not line.isascii():
            odd = next(letter for letter in line if not letter.isascii())
            yield f"{source.path}:{number}: U+{ord(odd):04X} is not ASCII"


def unexplained_ignores(source):
    for number, text in comments(source):
        match = IGNORE.search(text)
        if match and not (match["code"] and match["reason"]):
            yield f"{source.path}:{number}: type: ignore[code]  # with the reason"


def test_public_things_have_a_docstring(packages):
    documented = documented_methods(packages)
    lines = [line for source in packages for line in undocumented(source, documented)]
    assert not lines, "\n".join(lines)


def test_code_is_finished_and_ascii(code):
    lines = [line for source in code for line in unfinished(source)]
    assert not lines, "\n".join(lines)


def test_type_ignores_say_which_and_why(code):
    lines = [line for source in code for line in unexplained_ignores(source)]
    assert not lines, "\n".join(lines)


def test_guard_catches_missing_docstrings(source):
    bad = source(
        "def act(): ...\n"
        'class Thing:\n    """Is documented."""\n    def act(self): ...\n    def _own(self): ...\n'
    )
    found = [line.split(": ")[1] for line in undocumented(bad, {})]
    assert found == ["the module has no docstring", "act has no docstring", "act has no docstring"]


def test_guard_accepts_what_a_documented_class_declares(source):
    text = (
        '"""Module."""\n'
        'class Listener:\n    """Promise."""\n    def hear(self):\n        """Hear."""\n'
        'class Ear(Listener):\n    """Keep it."""\n    def hear(self): ...\n'
        "    def forward(self, x): ...\n"
    )
    example = source(text)
    assert [*undocumented(example, documented_methods([example]))] == []
    stranger = source(text.replace("(Listener)", ""))
    assert len([*undocumented(stranger, documented_methods([stranger]))]) == 1


def test_guard_catches_work_left_for_later(source):
    later = "TO" + "DO"
    assert len([*unfinished(source(f"x = 1  # {later}: more\n"))]) == 1
    assert len([*unfinished(source("x = '\u00e9'\n"))]) == 1
    assert [*unfinished(source("x = 'method'\n"))] == []


def test_guard_catches_unexplained_ignores(source):
    mark = "# type: " + "ignore"
    for bad in (mark, f"{mark}[arg-type]", f"{mark}  # reason"):
        assert len([*unexplained_ignores(source(f"x = 1  {bad}\n"))]) == 1
    assert [*unexplained_ignores(source(f"x = 1  {mark}[arg-type]  # stubs are wrong\n"))] == []
