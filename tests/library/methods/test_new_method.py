"""docs/new-method.md and new-recipe.md done word for word: one file, and the suite is content."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import npas
import pytest

pytestmark = pytest.mark.slow

CODE = re.MULTILINE | re.DOTALL
DOCS = Path(__file__).resolve().parents[3] / "docs"


def read(page):
    """Return the place of a page's file, and all its Python."""
    text = (DOCS / page).read_text()
    place = re.search(r"^`core/(npas/\w+/\w+\.py)`:$", text, re.MULTILINE)[1]
    return place, re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PLACE, BLOCKS = read("new-method.md")
RECIPE_PLACE, RECIPE_BLOCKS = read("new-recipe.md")


def ran(code, folder, path):
    """Run Python in a folder, with packages of `path` before all others; return what it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the library with each page's one file in the page's one place."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(npas.__file__).parent, folder / "npas", ignore=ignored)
    for place, blocks in ((PLACE, BLOCKS), (RECIPE_PLACE, RECIPE_BLOCKS)):
        assert not (folder / place).exists()
        (folder / place).write_text(blocks[0])
    return folder


def test_page_has_the_file_its_check_and_its_use():
    assert PLACE == "npas/methods/halves.py"
    assert len(BLOCKS) == 3
    assert "check_method(" in BLOCKS[1]
    assert "run(" in BLOCKS[2]


def test_names_in_the_text_are_imported_there_or_in_the_blocks_before():
    text = re.sub(r"^```\w*\n.*?^```$", "", (DOCS / "new-method.md").read_text(), flags=CODE)
    calls = re.findall(r"`(check_method\(.*?\))`", text, re.DOTALL)
    imports = [
        *re.findall(r"`(from [\w. ]+)`", text),
        *re.findall(r"^from .*", BLOCKS[1], re.MULTILINE),
    ]
    known = {alias.name for line in imports for alias in ast.parse(line).body[0].names}
    called = {n.id for call in calls for n in ast.walk(ast.parse(call)) if type(n) is ast.Name}
    assert "Effort" in called
    assert called <= known
    ran("\n".join(imports), DOCS, Path(npas.__file__).parents[1])


def test_method_passes_the_suite(copy, tmp_path):
    assert ran(BLOCKS[1] + "\nprint('lawful')", tmp_path, copy) == "lawful\n"


def test_method_plans_and_trains(copy, tmp_path):
    planned, trained = ran(BLOCKS[2], tmp_path, copy).splitlines()
    total, dense = (int(word) for word in re.findall(r"\d+", planned)[:2])
    parameters, accuracy = trained.split()
    assert total == int(parameters) <= 0.8 * dense
    assert float(accuracy) > 0.2
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_recipe_passes_the_suite(copy, tmp_path):
    assert RECIPE_PLACE == "npas/recipes/mirror.py"
    _, twin, check = RECIPE_BLOCKS
    (tmp_path / "mirror.py").write_text(twin)
    assert ran(check + "\nprint('lawful')", tmp_path, copy) == "lawful\n"


def test_method_of_another_distribution_is_found(tmp_path):
    (tmp_path / "elsewhere.py").write_text(BLOCKS[0])
    about = tmp_path / "elsewhere-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[npas.methods]\nhalves = elsewhere\n")
    code = (
        "import npas; from npas import methods\n"
        "plan = npas.plan('resnet-14', method='halves', budget={'fraction': 0.8})\n"
        "print(plan.method, len(plan.groups) > 0, methods.find('dense').title[:10])\n"
        "print('halves' in [row['method'] for row in methods.catalogue()])\n"
    )
    assert ran(code, tmp_path, tmp_path) == "halves True No sharing\nTrue\n"
