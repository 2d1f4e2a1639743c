"""How many networks of torchvision, timm and transformers can be declared, and why others cannot.

    nice -n 10 python -m benchmarks.declaring --write

Each is built untrained, declared, and its graph built again: `npas.declare` itself compares the
answers, bit for bit, with another batch and while training.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npas
import torch
from npas import registry
from npas.errors import UndeclarableError
from torch import nn

from benchmarks.networks import HF, TIMM
from benchmarks.timing import machine, table, write_section

_PAGE = Path(__file__).parents[1] / "docs/declaring.md"
SIZE = 64
"""Pixels of images, where a network reads any: what it computes is the same, only less of it."""
_FIXED = {"inception_v3": 299, "maxvit_t": 224}
_SIZED = ("coat_tiny", "gcvit_xxtiny", "sequencer2d_s")
_BODY = 1024 * 1024
"""Bytes of a request."""

Made = tuple[nn.Module, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one network.

    Attributes:
        library: that it is from.
        name: of it there.
        nodes: of its graph; 0 where it was refused.
        num_bytes: of its graph as JSON.
        reason: why it was refused; "": it was not.
    """

    library: str
    name: str
    nodes: int = 0
    num_bytes: int = 0
    reason: str = ""


def _of_torchvision() -> Iterator[tuple[str, Callable[[], Made]]]:
    models = registry.imported("torchvision.models", extra="vision")
    for name in models.list_models(module=models):
        yield name, lambda name=name: _torchvision(models, name)


def _torchvision(models: Any, name: str) -> Made:
    size = _FIXED.get(name, SIZE)
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        size = 56 if name == "vit_h_14" else SIZE
        options["image_size"] = size
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    return models.get_model(name, weights=None, **options), size


def _of_timm() -> Iterator[tuple[str, Callable[[], Made]]]:
    timm = registry.imported("timm", extra="timm")
    for name in TIMM:
        yield name, lambda name=name: _timm(timm, name)


def _timm(timm: Any, name: str) -> Made:
    model = timm.create_model(name, pretrained=False, num_classes=10)
    is_fixed = model.default_cfg.get("fixed_input_size") or name in _SIZED
    return model, model.default_cfg["input_size"][-1] if is_fixed else SIZE


def _of_transformers() -> Iterator[tuple[str, Callable[[], Made]]]:
    transformers = registry.imported("transformers", extra="hf")
    for name, (size, options) in HF.items():
        yield (
            name,
            lambda name=name, size=size, options=options: (
                _transformers(transformers, name, options),
                size,
            ),
        )


def _transformers(transformers: Any, name: str, options: dict[str, Any]) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**options, num_labels=10)
    model: nn.Module = getattr(transformers, f"{name}ForImageClassification")(config)
    return model


LIBRARIES = {
    "torchvision": _of_torchvision,
    "timm": _of_timm,
    "transformers": _of_transformers,
}


def outcome(library: str, name: str, make: Callable[[], Made]) -> Outcome:
    """Declare one network."""
    network, size = make()
    try:
        spec = npas.declare(network, torch.randn(1, 3, size, size))
    except UndeclarableError as error:
        where = f"in `{error.path}`: " if error.path else ""
        reason = where + error.message.partition(": ")[2]
        return Outcome(library=library, name=name, reason=reason)
    assert spec.graph is not None
    num_bytes = len(spec.model_dump_json(exclude_defaults=True))
    return Outcome(library=library, name=name, nodes=len(spec.graph.nodes), num_bytes=num_bytes)


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the tables, as Markdown."""
    rows = []
    for library in LIBRARIES:
        own = [each for each in outcomes if each.library == library]
        good = [each for each in own if not each.reason]
        if not own:
            continue
        rows.append(
            [
                *(library, f"{len(own)}", f"{len(good)}"),
                f"{max((each.nodes for each in good), default=0):,}",
                f"{max((each.num_bytes for each in good), default=0):,}",
            ]
        )
    header = ["library", "tried", "declared, equal", "most nodes", "most bytes of JSON"]
    lines = [table(header, rows), ""]
    refused = [[each.library, each.name, each.reason] for each in outcomes if each.reason]
    if refused:
        lines += [table(["library", "refused", "reason"], refused), ""]
    names = {
        library: [each.name for each in outcomes if each.library == library and not each.reason]
        for library in LIBRARIES
    }
    lines += [
        f"Declared of {library}: {', '.join(found)}." for library, found in names.items() if found
    ]
    return "\n".join(lines)


def main() -> int:
    """Declare all of them and print what became of them; 0 if none is too large to be sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, action="append")
    parser.add_argument("--name", action="append", help="of those alone")
    parser.add_argument("--write", action="store_true", help="into docs/declaring.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # the libraries' own, of their own code
    outcomes = []
    for library in given.library or LIBRARIES:
        for name, make in LIBRARIES[library]():
            if given.name and name not in given.name:
                continue
            since = time.monotonic()
            found = outcome(library, name, make)
            outcomes.append(found)
            told = found.reason or f"{found.nodes:,} nodes, {found.num_bytes:,} bytes"
            print(f"{library} {name}: {told} ({time.monotonic() - since:.0f} s)", flush=True)
    text = report(outcomes)
    print(text)
    if given.write:
        write_section(_PAGE, "declaring", f"{machine()}\n\n{text}")
    return 1 if any(each.num_bytes > _BODY for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
