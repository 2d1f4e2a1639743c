"""docs/exports.md: its examples run, one after the other."""

import re
from pathlib import Path

import npas
import onnxruntime
import torch

PAGE = Path(__file__).parents[3] / "docs/exports.md"


def test_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(example, names)
    assert "MACs" in capsys.readouterr().out
    made = {file.name for file in tmp_path.iterdir()}
    assert {"net.onnx", "net.pt2", "weights.safetensors", "guarded.onnx", "apart.onnx"} <= made
    x = torch.randn(3, 3, 32, 32)
    assert torch.equal(names["again"](x), names["net"](x))
    for name in ("guarded.onnx", "apart.onnx"):
        session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {"input": x.numpy()})[0])
        torch.testing.assert_close(found, names["net"](x), rtol=1e-4, atol=1e-5)
    assert npas.load("repository/model.safetensors").plan == names["plan"]
