"""One function per tool: a network written by it, and the bytes on disk."""

import copy
import importlib
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import npas
import torch
from npas.delivery.exporting import Exported
from npas.sharing.model import SharedModel

Tool = Callable[[SharedModel, dict[str, Any], Path], int]


def _onnx(net: SharedModel, options: dict[str, Any], folder: Path) -> Exported:
    return npas.export(net, folder / "net.onnx", **options)


def _pt2(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    return npas.export(net, folder / "net.pt2", "torch.export", **options).file_bytes


def _onnx_size(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    return _onnx(net, options, folder).file_bytes


def _onnxruntime(net: SharedModel, options: dict[str, Any], folder: Path, cap: str = "") -> int:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(folder / "optimised.onnx")
    settings.log_severity_level = 3
    if cap:
        name = "optimization.constant_folding_max_output_size_in_bytes"
        settings.add_session_config_entry(name, cap)
    path = str(_onnx(net, options, folder).path)
    onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return (folder / "optimised.onnx").stat().st_size


def _capped(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    return _onnxruntime(net, options, folder, "65536")


def _int8(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    done, path = _onnx(net, options, folder), folder / "int8.onnx"
    quantize_dynamic(done.path, path, weight_type=QuantType.QUInt8)
    return path.stat().st_size


def _openvino(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    import openvino

    model = openvino.convert_model(_onnx(net, options, folder).path)
    openvino.save_model(model, folder / "net.xml", compress_to_fp16=False)
    return (folder / "net.bin").stat().st_size


def _onnxslim(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    onnxslim = importlib.import_module("onnxslim")
    onnxslim.slim(str(_onnx(net, options, folder).path), str(folder / "slim.onnx"))
    return (folder / "slim.onnx").stat().st_size


def _onnxsim(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    onnx, onnxsim = importlib.import_module("onnx"), importlib.import_module("onnxsim")
    simplified, _ = onnxsim.simplify(onnx.load(_onnx(net, options, folder).path))
    onnx.save(simplified, folder / "simple.onnx")
    return (folder / "simple.onnx").stat().st_size


def _traced(net: SharedModel, options: dict[str, Any], folder: Path) -> Any:
    """Return the graph that a .pt2 file holds."""
    options = {**options, "dynamic_batch": False}
    path = npas.export(copy.deepcopy(net), folder / "net.pt2", "torch.export", **options).path
    return torch.export.load(path)


def _coreml(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    coremltools = importlib.import_module("coremltools")
    program = _traced(net, options, folder).run_decompositions({})
    program = copy.copy(program)
    found = coremltools.convert(
        program,
        convert_to="mlprogram",
        inputs=[coremltools.TensorType(shape=(1, *_shape(net)))],
        compute_precision=coremltools.precision.FLOAT32,
        skip_model_load=True,
    )
    found.save(str(folder / "net.mlpackage"))
    weights = (folder / "net.mlpackage").rglob("*")
    return sum(file.stat().st_size for file in weights if file.is_file())


def _executorch(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    exir = importlib.import_module("executorch.exir")
    program = exir.to_edge(_traced(net, options, folder)).to_executorch()
    (folder / "net.pte").write_bytes(program.buffer)
    return (folder / "net.pte").stat().st_size


def _litert(net: SharedModel, options: dict[str, Any], folder: Path) -> int:
    litert = importlib.import_module("litert_torch")
    module = _traced(net, options, folder).module()
    model = litert.convert(module, (torch.randn(1, *_shape(net)),), strict_export=False)
    model.export(str(folder / "net.tflite"))
    return (folder / "net.tflite").stat().st_size


def _shape(net: SharedModel) -> tuple[int, int, int]:
    spec = net.plan.networks[0].architecture
    assert spec.input_channels is not None
    assert spec.input_size is not None
    return spec.input_channels, spec.input_size, spec.input_size


TOOLS: dict[str, tuple[str, str, Tool]] = {
    "torch.export `.pt2`": ("torch", "torch", _pt2),
    "ONNX": ("onnxscript", "onnxscript", _onnx_size),
    "onnxruntime, optimised offline": ("onnxruntime", "onnxruntime", _onnxruntime),
    "- folding capped at 64 kB": ("onnxruntime", "onnxruntime", _capped),
    "- int8, `quantize_dynamic`": ("onnxruntime", "onnxruntime", _int8),
    "OpenVINO `.bin`": ("openvino", "openvino", _openvino),
    "onnxslim": ("onnxslim", "onnxslim", _onnxslim),
    "onnxsim": ("onnxsim", "onnxsim", _onnxsim),
    "coremltools, mlprogram": ("coremltools", "coremltools", _coreml),
    "ExecuTorch `.pte`, portable": ("executorch", "executorch", _executorch),
    "LiteRT `.tflite`": ("litert_torch", "litert-torch", _litert),
}
"""Module, distribution and function of each tool."""


def size(tool: str, net: SharedModel, options: dict[str, Any]) -> int:
    """Return the bytes that a tool writes for a network.

    Args:
        tool: of `TOOLS`.
        net: a shared network.
        options: of `npas.export`.
    """
    with tempfile.TemporaryDirectory() as folder:
        return TOOLS[tool][2](net, options, Path(folder))


def release(tool: str) -> str:
    """Return a tool's version."""
    return version(TOOLS[tool][1])
