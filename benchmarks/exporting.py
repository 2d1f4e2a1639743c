"""Exports: what each tool makes of a shared network, and ten networks in ONNX and `.pt2`.

Run `python -m benchmarks.exporting tools` in every environment that has tools: what is importable
is measured and recorded below benchmarks/records/exporting. `python -m benchmarks.exporting ten`
measures ten networks, onnxruntime's time over the dense network's among it. `--write` puts what
is recorded into docs/exports.md.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import npas
import torch
from npas import registry

from benchmarks.exports.networks import FORMS, TEN, kind, moved, shared
from benchmarks.exports.tools import TOOLS, release, size
from benchmarks.timing import machine, ratios, table, write_section

PAGE = Path(__file__).parents[1] / "docs" / "exports.md"
RECORDS = Path(__file__).parent / "records" / "exporting"


def measure_tools() -> None:
    """Measure every tool that is importable, and record it."""
    nets = {name: kind(name) for name in ("tied", "mix", "linear")}
    for tool, (module, _, _) in TOOLS.items():
        if not registry.is_installed(module):
            continue
        found: dict[str, Any] = {"version": release(tool), "bytes": {}}
        for form, (name, options) in FORMS.items():
            try:
                found["bytes"][form] = size(tool, nets[name], options)
            except Exception as error:  # of any tool: that it fails is what is recorded
                found["bytes"][form] = f"{type(error).__name__}: {error}"[:200]
            print(tool, form, found["bytes"][form], flush=True)
        _record(f"tool-{list(TOOLS).index(tool):02}", {"tool": tool, **found})
    sizes = {name: [net.plan.ledger.total, net.plan.ledger.dense] for name, net in nets.items()}
    _record("networks", sizes)


def measure_ten(rounds: int) -> None:
    """Measure the ten networks, and record them."""
    rows = []
    for architecture, method, fraction in TEN:
        row = _one(architecture, method, fraction, rounds)
        rows.append(row)
        print(row, flush=True)
        _record("ten", {"machine": machine(), "rows": rows})


def _one(architecture: str, method: str, fraction: float, rounds: int) -> dict[str, Any]:
    net = shared(architecture, method, fraction)
    dense = npas.build(architecture, seed=0)
    moved(dense)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        done = npas.export(net, place / "net.onnx")
        pt2 = npas.export(net, place / "net.pt2", "torch.export")
        x = npas.arch.example_input(net.plan.networks[0].architecture)
        with torch.no_grad():
            largest = float(net(x).abs().max())
        whole = npas.export(dense.eval(), place / "dense.onnx", example=x)
        time = _session_ratio(done.path, whole.path, x[:1], rounds)
    return {
        "network": architecture,
        "method": method,
        "budget": fraction,
        "unique": done.unique_bytes,
        "onnx": done.ratio,
        "pt2": pt2.ratio,
        "difference": max(done.max_difference or 0.0, pt2.max_difference or 0.0) / largest,
        "time": time,
    }


def _session_ratio(path: Path, dense: Path, x: torch.Tensor, rounds: int) -> float:
    """Return how long a call takes in a default session, over the dense network's."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = torch.get_num_threads()
    sessions = {
        name: onnxruntime.InferenceSession(str(file), settings, ["CPUExecutionProvider"])
        for name, file in {"shared": path, "dense": dense}.items()
    }
    fed = {"input": x.numpy()}
    work = {name: lambda each=each: each.run(None, fed) for name, each in sessions.items()}
    return ratios(work, "dense", rounds=rounds)["shared"]


def _record(name: str, found: Any) -> None:
    RECORDS.mkdir(parents=True, exist_ok=True)
    (RECORDS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def tools_table() -> str:
    """Return what is recorded of the tools."""
    sizes = json.loads((RECORDS / "networks.json").read_text())
    rows = []
    for path in sorted(RECORDS.glob("tool-*.json")):
        found = json.loads(path.read_text())
        cells = [_cell(found["bytes"][form]) for form in FORMS]
        rows.append([f"{found['tool']}, {found['version']}", *cells])
    kinds = [name for name, _ in FORMS.values()]
    for title, index in (("parameters, float32", 0), ("without sharing", 1)):
        rows.append([f"*{title}*", *(_cell(4 * sizes[name][index]) for name in kinds)])
    return table(["kB", *FORMS], rows)


def _cell(found: int | str) -> str:
    return f"{found / 1000:,.0f}" if isinstance(found, int) else "fails"


def ten_table() -> str:
    """Return what is recorded of the ten networks."""
    found = json.loads((RECORDS / "ten.json").read_text())
    rows = [
        [
            *(row["network"], row["method"], f"{row['budget']:.0%}", f"{row['unique']:,}"),
            *(f"{row['onnx']:.3f}", f"{row['pt2']:.3f}", f"{row['difference']:.0e}"),
            f"{row['time']:.2f}",
        ]
        for row in found["rows"]
    ]
    header = ["network", "method", "budget", "unique bytes", "ONNX", ".pt2", "difference", "time"]
    return f"{found['machine']}\n\n{table(header, rows)}"


def main() -> None:
    """Measure what is asked for, and write what is recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["tools", "ten", []], default=[])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="into docs/exports.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if "tools" in given.what:
        measure_tools()
    if "ten" in given.what:
        measure_ten(given.rounds)
    if given.write:
        write_section(PAGE, "tools", tools_table())
        write_section(PAGE, "ten", ten_table())


if __name__ == "__main__":
    main()
