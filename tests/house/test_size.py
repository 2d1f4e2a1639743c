"""Files stay within 400 lines and functions within 40, so that each fits a reader's head."""

import ast
import statistics

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_MEDIAN_LINES, MAX_PERCENTILE_90_LINES = 100, 260
MAX_LIBRARY_ENTRIES = 24
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def body_lines(function):
    """Count the lines of a function's body, its docstring left out."""
    body = function.body
    skip = 1 if ast.get_docstring(function, clean=False) is not None else 0
    return body[-1].end_lineno - body[skip].lineno + 1 if len(body) > skip else 0


def too_long(source):
    if source.path.is_relative_to("migrations/versions"):
        return  # a list of operations, in the order the database needs them
    lines = source.text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{source.path}: {lines} lines, at most {MAX_FILE_LINES}: split it by what it does"
    for node in ast.walk(source.tree):
        if isinstance(node, FUNCTIONS) and body_lines(node) > MAX_FUNCTION_LINES:
            yield (
                f"{source.path}:{node.lineno}: {node.name} has {body_lines(node)} lines, "
                f"at most {MAX_FUNCTION_LINES}: name its steps"
            )


def test_code_is_short(code):
    lines = [line for source in code for line in too_long(source)]
    assert not lines, "\n".join(lines)


def test_most_files_are_much_shorter(code):
    lines = [source.text.count("\n") for source in code if source.path.is_relative_to("core/npas")]
    assert statistics.median(lines) < MAX_MEDIAN_LINES
    assert statistics.quantiles(lines, n=10, method="inclusive")[-1] < MAX_PERCENTILE_90_LINES


def test_library_has_few_rooms(code):
    """Beside `__init__.py` and `py.typed`, which every package has."""
    library = [source.path for source in code if source.path.is_relative_to("core/npas")]
    entries = {path.relative_to("core/npas").parts[0] for path in library} - {"__init__.py"}
    assert len(entries) <= MAX_LIBRARY_ENTRIES, sorted(entries)


def test_guard_catches_long_file(source):
    assert len([*too_long(source("x = 1\n" * 401))]) == 1
    assert [*too_long(source("x = 1\n" * 400))] == []


def test_guard_catches_long_function_wherever_it_stands(source):
    body = "        x = 1\n"
    method = "class Thing:\n    async def act(self):\n"
    assert len([*too_long(source(method + body * 41))]) == 1
    assert [*too_long(source(method + body * 40))] == []


def test_guard_lets_migrations_be_lists(source):
    path = "migrations/versions/2026_01_01_jobs.py"
    assert [*too_long(source("def upgrade():\n" + "    x = 1\n" * 500, path))] == []


def test_guard_does_not_count_docstrings(source):
    docstring = '    """One.\n' + "\n    more" * 50 + '\n    """\n'
    assert [*too_long(source("def act():\n" + docstring + "    x = 1\n" * 40))] == []
    assert [*too_long(source("def act():\n" + docstring))] == []
