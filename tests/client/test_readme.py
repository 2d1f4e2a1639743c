"""What the README tells people to type works, and its tables are complete."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import npas
import pytest
from npas_api.app import create_app
from npas_store.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
URL = "http://127.0.0.1:8000"


def blocks(language):
    """The README's code blocks in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def adapted(code, url):
    """Point what is typed at the test's service; take a smaller network and fewer epochs."""
    here = code.replace(URL, url).replace(".venv/bin/python", sys.executable)
    small = here.replace('"wrn-28-10", budget=9_000_000', '"wrn-16-2", budget=200_000')
    return small.replace('"epochs": 20', '"epochs": 2')


def paste(lines, folder):
    """Type lines into one shell, one by one; return what each printed."""
    mark = "--- end of line ---"
    script = "".join(f"{line} || exit 1\necho; echo '{mark}'\n" for line in lines)
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [output.strip() for output in done.stdout.split(mark)[:-1]]


def test_readme_curl_lines_run_a_job(service, tmp_path):
    lines = blocks("bash")[0].splitlines()
    outputs = paste([adapted(line, service.url) for line in lines], tmp_path)
    _, job, events, metrics, _, artifacts, _, loaded = outputs
    assert json.loads(job)["state"] in ("queued", "running")
    assert 'event: end\ndata: {"state": "succeeded"}' in events
    assert [row["epoch"] for row in json.loads(metrics)["data"] if row["stage"] == "train"] == [
        1,
        2,
    ]
    assert "model.safetensors" in {row["name"] for row in json.loads(artifacts)["data"]}
    assert json.loads((tmp_path / "plan.json").read_text())["method"]
    assert "budget=172846" in loaded


def test_readme_infeasible_budget_names_the_minimum(service, tmp_path):
    (line,) = blocks("bash")[1].splitlines()
    (output,) = paste([adapted(line, service.url)], tmp_path)
    problem = json.loads(output)
    assert problem["status"] == 422
    assert problem["minimum"] > 1000
    assert set(problem["alternatives"]) >= {"dense", "soft_sharing"}


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_readme_python_runs(service, tmp_path, number):
    code = adapted(blocks("python")[number], service.url)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_readme_names_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        named = set(re.findall(r"`make ([a-z]+)`", page))
        assert named
        assert named <= targets


def test_readme_lists_every_setting_with_its_default():
    rows = re.findall(r"^\| `(NPAS_\w+)` \| `?([^`|]+?)`? \|", README, re.MULTILINE)
    assert [name for name, _ in rows] == [f"NPAS_{name.upper()}" for name in Settings.model_fields]
    defaults = dict(rows)
    for name, field in Settings.model_fields.items():
        if field.default_factory is None and field.default is not None:
            assert defaults[f"NPAS_{name.upper()}"] == str(field.default)


def test_readme_names_every_request_with_its_parameters():
    rows = re.findall(r"^\| `(/[^`]+)` \| (.*?) \| (.*?) ?\|$", README, re.MULTILINE)
    told = {path: (requests, parameters) for path, requests, parameters in rows}
    paths = create_app().openapi()["paths"]
    assert len(told) == len(rows)
    assert {re.sub(r"\{\w+_id\}", "{id}", path) for path in paths} == told.keys()
    for path, item in paths.items():
        requests, parameters = told[re.sub(r"\{\w+_id\}", "{id}", path)]
        methods = set(re.findall(r"`([A-Z]+)`", requests))
        described = {name.upper() for name in item}
        assert described <= methods <= described | {"HEAD", "PATCH"}, path
        known = [each for way in item.values() for each in way.get("parameters", ())]
        named = re.findall(r"`(\w+)(?:\[KEY\])?`", parameters)
        assert sorted(named) == sorted(e["name"] for e in known if e["in"] == "query"), path


def test_readme_says_how_small_a_network_can_get():
    head = re.search(r"^\| least part of the dense size \|(.*)\|$", README, re.MULTILINE)
    methods = re.findall(r"`(\w+)`", head[1])
    rows = re.findall(r"^\| `([\w:-]+)` \|((?: [\d.]+ % \|)+)$", README, re.MULTILINE)
    assert rows
    for name, cells in rows:
        percents = re.findall(r"[\d.]+", cells)
        for method, percent in zip(methods, percents, strict=True):
            plan = npas.plan(name, method=method, budget={"fraction": 1.0})
            places = len(percent.partition(".")[2])
            assert f"{100 * plan.minimum / plan.dense:.{places}f}" == percent, (name, method)
        spec = plan.networks[0].architecture
        pixels = f"{spec.input_channels} x {spec.input_size} x {spec.input_size}"
        assert f"{pixels} and {spec.num_classes:,} classes" in " ".join(README.split())


def test_pages_link_to_what_exists():
    for page in ROOT.glob("*.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        assert [link for link in links if not (ROOT / link).exists()] == []
