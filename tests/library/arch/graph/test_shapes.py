"""Graphs as strangers send them: each is refused with its place, or is a network."""

import re

import npas
import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from npas.arch.graph import building, functions, settings, shapes, stateful
from npas.arch.graph.constants import read, written
from npas.errors import InvalidSpecError
from npas.spec.graph import Constant, Graph
from torch import nn

from benchmarks.hostile_graphs import EITHER, KINDS, architecture_of, graph_of, sound


def refusal(graph):
    with pytest.raises(InvalidSpecError) as caught:
        npas.plan(architecture_of(graph), method="dense")
    return caught.value


def changed(**parts):
    """The sound graph with parts of it replaced; a key such as nodes_3 is a place in a list."""
    graph = sound()
    for name, value in parts.items():
        at, _, index = name.partition("_")
        if index:
            graph[at][int(index)] = value
        else:
            graph[at] = value
    return graph


def test_sound_graph_is_planned_and_runs():
    plan = npas.plan(architecture_of(sound()), method="dense")
    network = npas.build(plan.networks[0].architecture, seed=0)
    assert network(torch.randn(5, 3, 8, 8)).shape == (5, 4)
    assert "shift" in dict(network.named_parameters())


@effort(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 10**6))
def test_malformed_graph_is_refused_or_a_network(kind, seed):
    graph = graph_of(kind, seed)
    try:
        npas.plan(architecture_of(graph), budget={"fraction": 1.0}, method="dense")
    except InvalidSpecError as error:
        field = error.field
    else:
        field = "/architecture" if kind in EITHER else "taken"
    assert field.startswith(("/architecture", "/budget")), graph


@pytest.mark.parametrize(
    ("parts", "field", "message"),
    [
        (
            {"kinds_1": {"op": "relo"}},
            "/kinds/1/op",
            r"no module or function 'relo': did you mean relu",
        ),
        ({"nodes_3": {"kind": 2, "inputs": [2, 9]}}, "", "nodes/3 is node 4 and reads node 9"),
        (
            {"kinds_2": {"op": "cat", "settings": {"axis": 1}}},
            "/kinds/2",
            "no setting 'axis'; settings: tensors, dim",
        ),
        (
            {"kinds_2": {"op": "cat", "settings": {"dim": 7}}},
            "/nodes/3",
            r"cat does not fit what it reads, .*\(B, 8, 8, 8\) and \(B, 8, 8, 8\)",
        ),
        ({"nodes_0": {"kind": 0, "name": "forward"}}, "/nodes/0", "name cannot be used"),
        ({"nodes_5": {"kind": 5}}, "/nodes", "."),
        (
            {"kinds_4": {"op": "Linear", "settings": {"in_features": 16, "out_features": 3}}},
            "/nodes/10",
            "add does not fit",
        ),
        ({"nodes_7": {"kind": 7, "name": "shift", "start": {"x": [0.0, 1.0]}}}, "/nodes/7", "."),
        ({"constants": []}, "/nodes/8", "there is no constant 0; there are 0"),
    ],
)
def test_refusal_points_to_its_place(parts, field, message):
    error = refusal(changed(**parts))
    assert error.field.startswith("/architecture/graph" + field)
    assert re.search(message, error.message), error.message


def test_number_of_classes_is_that_of_the_graph():
    wrong = {**architecture_of(sound()), "num_classes": 7}
    with pytest.raises(InvalidSpecError, match=r"of shape \(B, 4\).*num_classes is 7"):
        npas.build(wrong)


def test_three_channels_are_not_called_the_batch():
    graph = changed()
    graph["nodes"] = [{"kind": 4, "name": "head"}]
    graph["kinds"][4] = {"op": "Linear", "settings": {"in_features": 5, "out_features": 4}}
    assert "(B, 3, 8, 8)" in refusal(graph).message


def test_shapes_take_no_memory():
    graph = changed()
    graph["kinds"][4] = {"op": "Linear", "settings": {"in_features": 16, "out_features": 60_000}}
    graph["kinds"].append({"op": "repeat", "settings": {"sizes": [1, 1, 2**12, 2**12]}})
    graph["nodes"].insert(0, {"kind": 10})
    spec = Graph.model_validate({**graph, "nodes": graph["nodes"][:1]})
    with pytest.raises(InvalidSpecError, match="allowed are 1 to 67,108,864 numbers"):
        shapes.check(spec, (3, 8, 8), 4)


@pytest.mark.parametrize("op", sorted(functions.known_functions()))
def test_every_function_has_a_signature_that_is_read(op):
    function = functions.known_functions()[op]
    assert callable(function.call)
    for argument in settings.arguments(function.signature):
        if not argument.is_tensor and not argument.is_required:
            plain = settings.plain(argument.default)
            assert settings.fitting(argument.kind, plain) == argument.default or plain == "none"


@pytest.mark.parametrize("op", sorted(stateful.STATEFUL))
def test_every_module_is_made_of_its_settings(op):
    known = stateful.STATEFUL[op]
    needed = [a for a in settings.arguments(known.signature) if a.is_required]
    sizes = {a.name: 4 for a in needed}
    module = building.made_within(op, settings.checked(known.signature, sizes), 10**6)
    assert isinstance(module, known.cls)
    assert stateful.settings_of(module, known) == sizes
    assert stateful.stateful_of(module) is known
    assert stateful.is_called_as_torch_does(module, known)
    assert stateful.stateful_of(nn.ReLU()) is None


@given(
    st.sampled_from([torch.float32, torch.int64, torch.bool, torch.float16]),
    st.lists(st.integers(1, 4), max_size=3),
)
def test_constants_come_back_bit_for_bit(dtype, shape):
    tensor = torch.randn(shape).mul(9).to(dtype)
    back = read(Constant.model_validate_json(written(tensor).model_dump_json()))
    assert back.dtype == dtype
    assert torch.equal(back, tensor)
