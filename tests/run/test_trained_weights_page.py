"""docs/trained-weights.md does what it says."""

import json
import re
from pathlib import Path

import pytest
import torch
from npas.spec import JobSpec

PAGE = (Path(__file__).parents[2] / "docs" / "trained-weights.md").read_text()


def blocks(mark, language):
    return re.findall(rf"<!-- {mark} -->\n```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", blocks("example", "python"))
def test_examples_run(code, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/trained-weights.md", "exec"), {})
    assert (tmp_path / "converted.safetensors").exists() or (tmp_path / "out").exists()


def test_request_is_one():
    (text,) = blocks("request", "json")
    spec = JobSpec.model_validate(json.loads(text))
    assert spec.training.distillation.teacher == "start"
    assert spec.start.fit == "activations"
