"""What a network is written as, for programs that read no npas."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from npas.spec.checked import Spec

Norms = Literal["as_built", "apart"]
"""How batch normalisations are written."""


class ExportSpec(Spec):
    """A file to make of a network: its format, and what the format leaves open."""

    to: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,39}$")] = Field(
        "onnx", description="format: onnx, torch.export or safetensors"
    )
    network: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="the one network to write; null: all, with an output for each"
    )
    guard: bool = Field(
        False,
        description="weights formally depend on the input, so that no tool that folds constants "
        "writes one copy per layer; they are made at every call",
    )
    norms: Norms = Field(
        "as_built",
        description="apart: batch normalisations are a factor and a term that no tool "
        "multiplies into a weight that several layers read",
    )
    dynamic_batch: bool = Field(True, description="any number of examples at a time, or just 1")
    opset: int | None = Field(
        None, ge=18, le=23, description="version of ONNX's operators; null: that of the exporter"
    )
