"""What tools do to a shared network: which keep it shared, and which write a copy per layer.

Both is knowledge: a tool that folds again fails its test, and so does one that has learnt to keep
what docs/exports.md says it folds. Sizes are in units of what is unique in the network.
"""

import onnxruntime
import openvino
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

SHARED = 1.35
"""Of networks as small as these the graph is a fourth of the file."""

FORMS = {
    "tied": ("tied", {}),
    "tied, norms apart": ("tied", {"norms": "apart"}),
    "mix": ("mix", {}),
    "mix, guard": ("mix", {"guard": True}),
    "linear": ("linear", {}),
}
FOLDS = {"onnxruntime": {"tied", "mix"}, "openvino": {"tied", "mix"}}
"""Forms of which a tool writes a copy for every layer."""


def size_in(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


def copied(done, kind):
    """Return how large a copy for each layer is, in the same units."""
    dense = {"tied": 56_938, "mix": 56_938, "linear": 72_310}[kind]
    return 4 * dense / done.unique_bytes


def check(tool, form, done, ratio):
    kind = FORMS[form][0]
    if form in FOLDS.get(tool, ()):
        assert ratio > 0.85 * copied(done, kind), f"{tool} keeps {form} now: {ratio:.2f}"
    else:
        assert ratio < SHARED, f"{tool} folds {form}: {ratio:.2f} of {copied(done, kind):.2f}"


@pytest.mark.parametrize("form", FORMS)
def test_exporter_writes_what_is_unique_once(exported, form):
    kind, options = FORMS[form]
    done = exported(kind, **options)
    check("exporter", form, done, done.ratio)
    assert done.max_difference < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_onnxruntime_optimised_offline(exported, tmp_path, form):
    kind, options = FORMS[form]
    done = exported(kind, **options)
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(str(done.path), settings, providers=["CPUExecutionProvider"])
    check("onnxruntime", form, done, size_in(tmp_path) / done.unique_bytes)


def test_onnxruntime_leaves_mixed_weights_where_folding_is_capped(exported, tmp_path):
    done = exported("mix")
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    settings.log_severity_level = 3
    cap = "optimization.constant_folding_max_output_size_in_bytes"
    settings.add_session_config_entry(cap, "16384")
    onnxruntime.InferenceSession(str(done.path), settings, providers=["CPUExecutionProvider"])
    assert size_in(tmp_path) / done.unique_bytes < SHARED


@pytest.mark.parametrize("form", ["tied", "mix", "linear"])
def test_onnxruntime_quantises_what_is_unique_once(exported, tmp_path, form):
    done = exported(form)
    quantize_dynamic(done.path, tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    assert size_in(tmp_path) / done.unique_bytes < 0.75


@pytest.mark.parametrize("form", FORMS)
def test_openvino_converts(exported, tmp_path, form):
    kind, options = FORMS[form]
    done = exported(kind, **options)
    model = openvino.convert_model(done.path)
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    size = (tmp_path / "model.bin").stat().st_size
    check("openvino", form, done, size / done.unique_bytes)


def test_openvino_gives_what_the_network_gives(exported):
    done = exported("mix", guard=True)
    x = torch.randn(2, 3, 8, 8)
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"input": x.numpy()})[0]
    compiled = openvino.Core().compile_model(
        str(done.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = compiled(x.numpy())[0]
    assert abs(found - wanted).max() < 1e-4
