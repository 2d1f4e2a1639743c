"""What an open project has beside its code, and that it says what is so."""

import re
import tomllib

import pytest
import yaml


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def workflow(root):
    return yaml.safe_load((root / ".github/workflows/ci.yml").read_text())


def test_workflow_runs_the_readmes_command_on_every_python(workflow, project, root):
    job = workflow["jobs"]["test"]
    assert {"run": "make test"} in job["steps"]
    lowest = project["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == lowest
    assert workflow["jobs"]["lowest"]["steps"][1]["with"]["python-version"] == lowest
    assert "make test" in (root / "README.md").read_text()


def test_workflow_tests_folders_that_exist(workflow, root):
    commands = " ".join(step.get("run", "") for step in workflow["jobs"]["lowest"]["steps"])
    folders = re.findall(r"tests/\w+", commands)
    assert folders
    assert [folder for folder in folders if not (root / folder).is_dir()] == []


def test_hook_before_a_commit_checks_what_make_checks(root):
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())
    assert [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]] == ["make check"]
    assert re.search(r"^check:", (root / "Makefile").read_text(), re.M)


def test_issue_forms_ask_for_something(root):
    forms = sorted((root / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 2
    for form in map(yaml.safe_load, (form.read_text() for form in forms)):
        assert form.keys() == {"name", "description", "labels", "body"}
        assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_there_is_one_version(root, project):
    assert "version" in project["dynamic"]
    found = re.findall(
        r'^__version__ = "(.+)"$', (root / "core/npas/__init__.py").read_text(), re.M
    )
    assert len(found) == 1


def test_every_package_says_that_it_is_typed(packages, root):
    folders = {source.path.parts[:2] for source in packages}
    missing = [f for f in folders if not (root.joinpath(*f) / "py.typed").is_file()]
    assert missing == []


def test_extras_leave_the_library_alone(project):
    names = [re.match(r"[\w-]+", each)[0] for each in project["dependencies"]]
    assert names == ["torch", "numpy", "pydantic", "safetensors"]
    assert (
        project["optional-dependencies"]["service"][0]
        == "npas[vision,pictures,images,parquet,bytes,onnx,client]"
    )


def test_page_of_the_architecture_names_files_that_exist(root):
    text = (root / "docs/architecture.md").read_text()
    homes = [root / home for home in ("core", "api", "worker", "client")]
    named = set(re.findall(r"`(npas\w*/[\w/.]+)`", text))
    assert len(named) > 15
    files = {path.name for home in homes for path in home.rglob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", text)) - files == set()
    assert [n for n in sorted(named) if not any((home / n).exists() for home in homes)] == []
