"""A graph of PyTorch's own operators, a .pt2 file: for torch.export.load, AOTInductor, ExecuTorch.

What PyTorch writes is a zip archive with a description of the graph in JSON, uncompressed and
with traces of the Python code; of a small network the description is larger than the weights.
Here the traces are left out, and the description is compressed, which PyTorch reads as well.
"""

import zipfile
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from npas.delivery.exports._target import Order
from npas.delivery.exports._tracing import traced

_NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


class TorchExport:
    """The format; see `_target.Target`."""

    name = "torch.export"
    title = "torch.export: PyTorch without the network's code, ExecuTorch"
    file_name = "model.pt2"
    options = frozenset({"guard", "norms", "dynamic_batch"})
    is_graph = True
    packages = ()
    extra = ""

    def write(self, order: Order, path: Path) -> None:
        """Write the file; see `Target`."""
        program = traced(order)
        _strip(program)
        aside = path.with_name(f"{path.name}.pt2")
        try:
            torch.export.save(program, aside)
            _packed(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    def run(self, order: Order, path: Path) -> list[Tensor] | None:
        """Return what the file gives; see `Target`."""
        with path.open("rb") as file:
            found = torch.export.load(file).module()(*order.example)
        return [found] if isinstance(found, Tensor) else list(found)


def _strip(program: ExportedProgram) -> None:
    for node in program.graph.nodes:
        for note in _NOTES:
            node.meta.pop(note, None)
    program.example_inputs = None


def _packed(source: Path, path: Path) -> None:
    """Write an archive anew, descriptions compressed and tensors as they are.

    The folder in it, which PyTorch names after the file, is called "model".
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            _, _, name = entry.filename.partition("/")
            is_text = name.endswith(".json")
            plain = zipfile.ZipInfo(f"model/{name}")  # with a fixed date: same network, same bytes
            kind = zipfile.ZIP_DEFLATED if is_text else zipfile.ZIP_STORED
            new.writestr(plain, old.read(entry), kind, 9)


TARGET = TorchExport()
