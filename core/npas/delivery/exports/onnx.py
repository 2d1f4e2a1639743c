"""ONNX, by PyTorch's exporter; checked by ONNX Runtime where that is installed.

A default session of ONNX Runtime folds constants when it loads a file: it composes all weights
once, in memory, and is as fast as with a dense network. The file stays small unless somebody saves
the optimised model.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npas import registry
from npas.delivery.exports._target import Order
from npas.delivery.exports._tracing import traced

_LARGEST = 256
"""Scalars of a constant that may be computed beforehand: shapes and the like, but no weights."""


class Onnx:
    """The format; see `_target.Target`."""

    name = "onnx"
    title = "ONNX: ONNX Runtime, OpenVINO and others"
    file_name = "model.onnx"
    options = frozenset({"guard", "norms", "dynamic_batch", "opset"})
    is_graph = True
    packages = ("onnx", "onnxscript")
    extra = "onnx"

    def write(self, order: Order, path: Path) -> None:
        """Write the file; see `Target`."""
        optimizer = registry.imported("onnxscript.optimizer", extra=self.extra)
        program = traced(order)
        made: Any = torch.onnx.export(
            program,
            input_names=order.inputs,
            output_names=order.outputs,
            opset_version=order.spec.opset,
            dynamo=True,
            external_data=False,
            verbose=False,
            optimize=False,
        )
        optimizer.optimize(made.model, output_size_limit=_LARGEST)
        _strip(made.model)
        made.save(path)

    def run(self, order: Order, path: Path) -> list[Tensor] | None:
        """Return what the file gives; see `Target`."""
        if not registry.is_installed("onnxruntime"):
            return None
        runtime = registry.imported("onnxruntime", extra=self.extra)
        settings = runtime.SessionOptions()
        settings.log_severity_level = 3  # errors
        session = runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        pairs = zip(order.inputs, order.example, strict=True)
        fed = {name: each.numpy() for name, each in pairs}
        found = session.run(order.outputs, fed)
        return [torch.from_numpy(each) for each in found]


def _strip(model: Any) -> None:
    """Take out notes for developers, traces of the Python code, and shorten names between."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values()]
    for number, node in enumerate(graph):
        node.metadata_props.clear()
        node.doc_string, node.name = None, f"n{number}"
        values.extend(node.outputs)
    for number, value in enumerate(values):
        value.metadata_props.clear()
        value.doc_string = None
        if value.producer() is not None and not value.is_graph_output():
            value.name = f"v{number}"
            value.shape = value.type = None  # runtimes find these out
    model.metadata_props.clear()
    graph.metadata_props.clear()


TARGET = Onnx()
