"""Malformed declared graphs, one per number and seed: what `hostile_requests` sends."""

import base64
import copy
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

Graph = dict[str, Any]
Change = Callable[[Graph, random.Random], None]

SIZE, CLASSES = 8, 4
_Asked = tuple[str, dict[str, Any]]

JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**62, -(2**62), 1.5, 1e308, "", "x" * 90, "__class__", "../../etc"),
    *([], {}, [[]], [None], {"batch": 2**31}, {"batch": -1}, [1, [2, [3]]], "\u202e"),
)
"""Values that stand where others belong."""


def sound() -> Graph:
    """Return a graph that is in order: two branches, joined, with a constant."""
    zeros = base64.b64encode(zlib.compress(bytes(8 * 4))).decode()
    conv = {"in_channels": 3, "out_channels": 8, "kernel_size": 3, "padding": 1}
    return {
        "kinds": [
            {"op": "Conv2d", "settings": conv},
            {"op": "relu"},
            {"op": "cat", "settings": {"dim": 1}},
            {"op": "mean", "settings": {"dim": [2, 3]}},
            {"op": "Linear", "settings": {"in_features": 16, "out_features": CLASSES}},
            {"op": "reshape", "settings": {"sizes": [{"batch": 1}, -1]}},
            {"op": "constant", "settings": {"constant": 0}},
            {"op": "parameter", "settings": {"sizes": [CLASSES]}},
            {"op": "index", "settings": {}},
            {"op": "add"},
        ],
        "nodes": [
            {"kind": 0, "name": "one"},
            {"kind": 1},
            {"kind": 0, "name": "two", "inputs": [0]},
            {"kind": 2, "inputs": [2, 3]},
            {"kind": 3},
            {"kind": 4, "name": "head.linear"},
            {"kind": 5},
            {"kind": 7, "name": "shift", "start": {"value": [0.0, 0.1]}},
            {"kind": 6},
            {"kind": 8, "inputs": [8, 9]},
            {"kind": 9, "inputs": [7, 10]},
        ],
        "constants": [{"dtype": "int64", "shape": [4], "data": zeros}],
    }


def _node(graph: Graph, rng: random.Random) -> Graph:
    found: Graph = rng.choice(graph["nodes"])
    return found


def _inserted(graph: Graph, op: str, settings: Mapping[str, Any], *, times: int = 1) -> None:
    """Put nodes of a kind before all others, each after the one before."""
    graph["kinds"].append({"op": op, "settings": dict(settings)})
    for node in graph["nodes"]:
        node["inputs"] = [each + times if each else 0 for each in node.get("inputs", [])] or None
    entries = [{"kind": len(graph["kinds"]) - 1} for _ in range(times)]
    graph["nodes"] = entries + [
        {key: each for key, each in node.items() if each is not None} for node in graph["nodes"]
    ]


def cycle(graph: Graph, rng: random.Random) -> None:
    """Have a node read itself, or a later one."""
    index = rng.randrange(len(graph["nodes"]))
    graph["nodes"][index]["inputs"] = [rng.randint(index + 1, len(graph["nodes"]))]


def missing_node(graph: Graph, rng: random.Random) -> None:
    """Have a node read one that is not there."""
    _node(graph, rng)["inputs"] = [rng.choice([99, -1, 2**40, len(graph["nodes"]) + 1])]


def missing_kind(graph: Graph, rng: random.Random) -> None:
    """Name a kind that is not there."""
    _node(graph, rng)["kind"] = rng.choice([99, -1, 2**40, "relu", None])


def unknown_op(graph: Graph, rng: random.Random) -> None:
    """Call something that is not in the list."""
    names = ("eval", "exec", "__import__", "os.system", "load", "save", "Conv9d", "item_", "rand")
    rng.choice(graph["kinds"])["op"] = rng.choice([*names, "torch.load", "Tensor", "hub", ""])


def bad_name(graph: Graph, rng: random.Random) -> None:
    """Give a module a name that Python or torch keeps, or that leads elsewhere."""
    names = ("__class__", "a.__init__", "forward", "training", "_modules", "a..b", ".a", "a.", "")
    more = ("../x", "one.weight", "one.bias.x", "a" * 70, "a." * 40 + "b", "graph_steps", "to")
    graph["nodes"][0]["name"] = rng.choice([*names, *more, "\u00e4", "one\n", "shift"])


def two_of_a_name(graph: Graph, rng: random.Random) -> None:
    """Use one name for two things."""
    name = rng.choice(["head.linear", "shift"])
    graph["nodes"][rng.choice([0, 2])]["name"] = name


def nameless(graph: Graph, rng: random.Random) -> None:
    """Leave a module's name out, or give a function one."""
    index = rng.choice([0, 2, 5, 7, 1, 3, 4])
    if graph["nodes"][index].pop("name", None) is None:
        graph["nodes"][index]["name"] = "function"


def bad_setting(graph: Graph, rng: random.Random) -> None:
    """Put a value where another belongs."""
    kind = rng.choice([each for each in graph["kinds"] if each.get("settings")])
    kind["settings"][rng.choice(list(kind["settings"]))] = rng.choice(JUNK)


def unknown_setting(graph: Graph, rng: random.Random) -> None:
    """Set what there is not."""
    names = ("out", "device", "alias", "__dict__", "inplace", "self", "input", "function")
    rng.choice(graph["kinds"]).setdefault("settings", {})[rng.choice(names)] = rng.choice(JUNK)


def zero_count(graph: Graph, rng: random.Random) -> None:
    """Set a count that some kernels divide by to 0 or below."""
    ops = {
        "Conv2d": ("stride", "groups", "kernel_size", "dilation"),
        "max_pool2d": ("kernel_size", "stride"),
        "avg_pool2d": ("kernel_size", "stride"),
        "pixel_shuffle": ("upscale_factor",),
        "pixel_unshuffle": ("downscale_factor",),
        "channel_shuffle": ("groups",),
        "chunk": ("chunks",),
        "unfold": ("kernel_size", "stride", "dilation"),
        "group_norm": ("num_groups",),
    }
    op = rng.choice(list(ops))
    settings = {name: rng.choice([0, -1, [0, 1], [1, -3]]) for name in ops[op]}
    if op == "Conv2d":
        graph["kinds"][0]["settings"][rng.choice(ops[op])] = rng.choice([0, -1, [0, 1]])
    else:
        _inserted(graph, op, settings)


def huge(graph: Graph, rng: random.Random) -> None:
    """Make a tensor that fits no memory."""
    requests: list[_Asked] = [
        ("repeat", {"sizes": [1, 1, 2**15, 2**15]}),
        ("expand", {"sizes": [2**31, -1, -1, -1, -1]}),
        ("interpolate", {"size": [65_536, 65_536]}),
        ("adaptive_avg_pool2d", {"output_size": 65_536}),
        ("pad", {"pad": [2**30, 2**30]}),
        ("repeat_interleave", {"repeats": 64, "dim": 9}),
        ("interpolate", {"scale_factor": 1e30}),
        ("full", {"sizes": [2**31, 2**31], "value": 1}),
        ("upsample", {"size": 10**9}),
    ]
    _inserted(graph, *rng.choice(requests))


def growing(graph: Graph, rng: random.Random) -> None:
    """Double what there is, many times over."""
    _inserted(graph, "repeat", {"sizes": [1, 2, 1, 1]}, times=rng.choice([30, 64, 500]))


def too_many(graph: Graph, rng: random.Random) -> None:
    """Have more nodes, kinds or inputs than there may be."""
    what = rng.choice(["nodes", "kinds", "inputs", "constants"])
    if what == "inputs":
        graph["nodes"][3]["inputs"] = [1] * 600
    elif what == "constants":
        graph["constants"] = graph["constants"] * 400
    else:
        graph[what] = [dict(graph[what][1]) for _ in range(5_200)]


def too_wide(graph: Graph, rng: random.Random) -> None:
    """Declare more parameters than are planned."""
    requests: list[_Asked] = [
        ("Linear", {"in_features": 65_536, "out_features": 65_536}),
        ("Conv3d", {"in_channels": 65_536, "out_channels": 65_536, "kernel_size": 65_536}),
        ("Embedding", {"num_embeddings": 65_536, "embedding_dim": 65_536}),
        ("LSTM", {"input_size": 65_536, "hidden_size": 65_536, "num_layers": 64}),
        ("MultiheadAttention", {"embed_dim": 65_536, "num_heads": 3}),
        ("LayerNorm", {"normalized_shape": [65_536] * 8}),
    ]
    _inserted(graph, *rng.choice(requests))
    graph["nodes"][0]["name"] = "wide"


def bad_constant(graph: Graph, rng: random.Random) -> None:
    """Send numbers that are not what they say, or that unpack to a thousand times their size."""
    constant = graph["constants"][0]
    bomb = base64.b64encode(zlib.compress(bytes(10**7), 9)).decode()
    name, value = rng.choice(
        [
            *(("data", bomb), ("data", "AAAA"), ("data", "not base64!"), ("data", "")),
            *(("shape", [2**24, 2**24]), ("shape", [5]), ("shape", [0]), ("shape", [])),
            *(
                ("dtype", "complex64"),
                ("dtype", "float32"),
                ("dtype", "object"),
                ("dtype", "bool"),
            ),
        ]
    )
    constant[name] = value


def index_beyond(graph: Graph, rng: random.Random) -> None:
    """Point beyond the end of a table."""
    numbers = [0, 1, 2, rng.choice([4, -5, 10**9, -(2**62)])]
    data = b"".join(each.to_bytes(8, "little", signed=True) for each in numbers)
    graph["constants"][0]["data"] = base64.b64encode(zlib.compress(data)).decode()


def other_answer(graph: Graph, rng: random.Random) -> None:
    """End in something that is no answer."""
    op, settings = rng.choice(
        [
            *(("chunk", {"chunks": 2}), ("sum", {}), ("unsqueeze", {"dim": 0})),
            *(("to", {"dtype": "int64"}), ("flip", {"dims": [9]}), ("item", {"index": 7})),
            ("parameter", {"sizes": [2, CLASSES]}),
        ]
    )
    graph["kinds"].append({"op": op, "settings": settings})
    graph["nodes"].append({"kind": len(graph["kinds"]) - 1})


def nested(graph: Graph, rng: random.Random) -> None:
    """Nest lists within a setting."""
    value: Any = 1
    for _ in range(rng.choice([3, 10, 24, 300])):
        value = [value]
    rng.choice(graph["kinds"]).setdefault("settings", {})["dim"] = value


def wrong_form(graph: Graph, rng: random.Random) -> None:
    """Give something else for a list, or leave it out."""
    name = rng.choice(list(graph))
    if rng.random() < 0.3 and name != "constants":
        del graph[name]
    else:
        graph[name] = rng.choice([None, 1, "x", {}, [1], [None], [[]]])


def anything(graph: Graph, rng: random.Random) -> None:
    """Replace any value by any other."""
    at: Any = graph
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = rng.choice(keys)
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.1:
            at[key] = rng.choice(JUNK)
            return
        at = at[key]


KINDS: Mapping[str, Change] = {
    change.__name__.replace("_", " "): change
    for change in (
        *(cycle, missing_node, missing_kind, unknown_op, bad_name, two_of_a_name, nameless),
        *(bad_setting, unknown_setting, zero_count, huge, growing, too_many, too_wide),
        *(bad_constant, index_beyond, other_answer, nested, wrong_form, anything),
    )
}
"""By what is wrong with a graph."""
EITHER = ("bad setting", "anything", "bad name", "growing", "bad constant", "nested")
"""Kinds of which some may be in order by chance."""


def graph_of(kind: str, seed: int) -> Graph:
    """Return a graph with something wrong: the same for the same seed."""
    graph = copy.deepcopy(sound())
    KINDS[kind](graph, random.Random(f"{kind} {seed}"))
    return graph


def architecture_of(graph: Graph) -> dict[str, Any]:
    """Return a graph as a request has it."""
    sizes = {"num_classes": CLASSES, "input_channels": 3, "input_size": SIZE}
    return {"name": "declared-graph", **sizes, "graph": graph}


def bodies(number: int, seed: int) -> tuple[str, bool, dict[str, Any]]:
    """Return what is wrong, whether it must be refused, and the fields of a request."""
    kind = list(KINDS)[number % len(KINDS)]
    graph = graph_of(kind, 10**6 * seed + number)
    return kind, kind not in EITHER, {"architecture": architecture_of(graph)}
