"""There is one place that commits, and SQL is written in the store alone."""

import ast

COMMITS = "core/npas_store/database.py"
MIGRATES = {"core/npas_store/migrate.py", "migrations/env.py"}
"""May open a block that commits at its end: they change the schema, before there are sessions."""

CONNECTS = "core/npas_local/embedded.py"
"""May connect without the store, to hear whether its server answers; it asks nothing."""

STATEMENTS = {"select", "text", "update", "insert", "delete", "func", "literal_column"}


def commits(sources):
    for source in sources:
        for node in ast.walk(source.tree):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr == "commit":
                yield f"{source.path}:{node.lineno}"


def hidden_commits(source):
    """Yield each `begin()`, whose block commits without the word."""
    for node in ast.walk(source.tree):
        called = node.func if isinstance(node, ast.Call) else None
        is_begin = isinstance(called, ast.Attribute) and called.attr in ("begin", "begin_nested")
        if is_begin and str(source.path) not in MIGRATES:
            yield f"{source.path}:{node.lineno}: use database.transaction()"


def _imports(source):
    """Yield (line, module, name) of each import; name is "" for `import module`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)


def sql(source):
    if source.package == "npas_store" or source.path.parts[0] in ("migrations", "tests"):
        return
    for line, module, name in _imports(source):
        top = module.partition(".")[0]
        whole = (top == "psycopg" and str(source.path) != CONNECTS) or (
            top == "sqlalchemy" and not name
        )
        if whole or (top == "sqlalchemy" and name in STATEMENTS | {"*"}):
            yield f"{source.path}:{line}: write the query in npas_store and call it from here"


def test_there_is_one_commit(code):
    shipped = (s for s in code if s.package or s.path.parts[0] == "migrations")
    assert [place.partition(":")[0] for place in commits(shipped)] == [COMMITS]


def test_no_commit_is_hidden(packages):
    lines = [line for source in packages for line in hidden_commits(source)]
    assert not lines, "\n".join(lines)


def test_sql_is_written_in_the_store_alone(code):
    lines = [line for source in code for line in sql(source)]
    assert not lines, "\n".join(lines)


def test_guard_catches_each_commit(source):
    text = "def act(session):\n    session.commit()\n    session.connection().commit()\n"
    assert len([*commits([source(text)])]) == 2
    assert [*commits([source("commit = 1\n")])] == []


def test_guard_catches_hidden_commits(source):
    text = "def act(engine):\n    with engine.begin() as connection: ...\n"
    assert len([*hidden_commits(source(text))]) == 1
    assert [*hidden_commits(source(text, "core/npas_store/migrate.py"))] == []


def test_guard_catches_sql_outside_the_store(source):
    for line in (
        "from sqlalchemy import select",
        "from sqlalchemy.dialects.postgresql import insert",
        "from sqlalchemy import *",
        "import sqlalchemy as sa",
        "import psycopg",
    ):
        assert len([*sql(source(line, "api/npas_api/jobs.py"))]) == 1
        assert [*sql(source(line, "core/npas_store/jobs.py"))] == []
    assert [*sql(source("from sqlalchemy.orm import Session", "api/npas_api/jobs.py"))] == []
