"""docs/declaring.md: its example runs, its graph is a network, its lists are whole."""

import json
import re
from pathlib import Path

import npas
from npas.arch.graph.building import known_ops
from npas.spec import PlanRequest

PAGE = (Path(__file__).resolve().parents[4] / "docs/declaring.md").read_text()


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return found


def test_example_is_planned_and_sent():
    names = {}
    exec(block("python"), names)  # the page's own code
    assert names["plan"].ledger.total <= names["plan"].ledger.budget
    request = PlanRequest.model_validate_json(json.dumps(names["request"]))
    assert request.architecture == names["architecture"]


def test_graph_is_a_network():
    spec = {"name": "declared-graph", "num_classes": 10, "input_size": 8}
    network = npas.build({**spec, "graph": json.loads(block("json"))})
    assert [name for name, _ in network.named_children()] == ["stem", "body", "head"]


def test_every_module_and_function_is_listed():
    assert [op for op in known_ops() if f"`{op}`" not in PAGE] == []
