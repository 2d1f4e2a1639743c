"""The wheel, installed into an environment that holds only what the library itself asks for."""

import json
import os
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

USE = """
import json, sys
import npas, torch
from npas import data
plan = npas.plan("resnet-8", budget=30_000)
model = npas.share(npas.build("resnet-8", seed=1), plan).eval()
npas.save(model, "model.safetensors")
loaded = npas.load("model.safetensors").eval()
x = torch.randn(2, 3, 32, 32)
print(json.dumps({
    "equal": torch.equal(model(x), loaded(x)),
    "parameters": sum(p.numel() for p in loaded.parameters()),
    "images": len(data.load("digits").x_train),
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""

WALK = """
import importlib, pkgutil, npas
for module in pkgutil.walk_packages(npas.__path__, "npas."):
    if not module.name.startswith("npas.testing") and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def closure(name, found):
    """Add a distribution, and all that it asks for without extras, to those that are found."""
    if name in found:
        return found
    found[name] = distribution(name)
    for text in found[name].requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            closure(canonicalize_name(needed.name), found)
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Yield the interpreter of an environment with the wheel; its dependencies are linked in."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env")
    python = folder / "env" / "bin" / "python"
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    uv = Path(sys.executable).with_name("uv")
    install = [uv, "pip", "install", "--offline", "--no-deps", "--python", python, wheel]
    subprocess.run(install, check=True, capture_output=True)
    needed = closure("npas", {})
    del needed["npas"]
    for each in needed.values():
        for top in {Path(file).parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(each.locate_file(top)).resolve())
    return python


def said(python, code, folder):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, "-I", "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_wheel_plans_shares_saves_and_loads_without_extras(python, tmp_path):
    ended = said(python, USE, tmp_path)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["equal"]
    assert told["parameters"] <= 30_000
    assert told["images"] == 1437
    needless = {"fastapi", "celery", "sqlalchemy", "sklearn", "torchvision", "httpx", "matplotlib"}
    assert not needless & set(told["modules"])


def test_every_module_of_the_library_imports_without_extras(python, tmp_path):
    ended = said(python, WALK, tmp_path)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("code", "told", "extra"),
    [
        ('npas.plan("torchvision:resnet18")', "torchvision is not installed", "vision"),
        ('npas.plan("torchvison:resnet18")', "unknown architecture", ""),
        ('import npas.data; npas.data.fetch("cifar10")', "torchvision is not installed", "vision"),
        ('npas.NpasModel.from_pretrained(".")', "huggingface_hub is not installed", "hub"),
        ("npas.NpasModel(None)", "huggingface_hub is not installed", "hub"),
    ],
)
def test_what_needs_an_extra_says_so(python, tmp_path, code, told, extra):
    ended = said(
        python, f"import npas\ntry:\n    {code}\nexcept Exception as e: print(e)", tmp_path
    )
    assert told in ended.stdout, ended
    assert not extra or f"pip install 'npas[{extra}]'" in ended.stdout


def test_programs_say_what_to_install(python, tmp_path):
    program = python.with_name("npas")
    listed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert "serve" in listed
    for name in ("serve", "api", "worker", "migrate", "demo"):
        ended = subprocess.run([program, name], capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert "pip install 'npas[service]'" in ended.stderr
        assert ended.stderr.count("\n") == 1
    data = subprocess.run(
        [program, "data"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "digits" in data.stdout
    wrong = subprocess.run([program, "nothing"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no program 'nothing'" in wrong.stderr


def test_command_says_what_a_program_does_and_does_not_start_it():
    command = Path(sys.executable).with_name("npas")
    for option in ("-h", "--help"):
        ended = subprocess.run(
            [command, "check", option], capture_output=True, text=True, check=True
        )
        assert "checkpoint" in ended.stdout
