"""No class knows everything: at most ten attributes that it sets itself."""

import ast

MOST = 10


def own_attributes(node):
    """Return the names that a class assigns on self."""
    found = set()
    for each in ast.walk(node):
        is_stored = isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
        if is_stored and isinstance(each.value, ast.Name) and each.value.id == "self":
            found.add(each.attr)
    return found


def crowded(source):
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and len(names := own_attributes(node)) > MOST:
            yield f"{source.path}:{node.lineno}: {node.name} has {len(names)}: {sorted(names)}"


def test_no_class_has_more_than_ten_attributes(packages):
    lines = [line for source in packages for line in crowded(source)]
    assert not lines, "\n".join(lines)


def test_guard_counts_attributes(source):
    names = "abcdefghijk"
    body = "".join(f"        self.{name} = 1\n" for name in names)
    text = f"class A:\n    def __init__(self):\n{body}"
    assert len([*crowded(source(text))]) == 1
    assert [*crowded(source(text.replace("self.k = 1", "other.k = 1")))] == []
