"""Thousands of bad requests for a job: each is refused by naming the field, none does harm.

Most are made from a valid request by damaging it in one place, so that it is known which field the
refusal must name. The others are made by Schemathesis from the service's own OpenAPI document.
"""

import copy
import json
from collections import Counter

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from npas import spec
from npas_store.database import reading
from npas_store.tables import Event, Job, OutboxMessage, PlanVersion, Transition
from schemathesis import GenerationMode
from sqlalchemy import select

NUM_DAMAGED, NUM_GENERATED, NUM_BAD = 3_300, 60, 3_000

BASES = (
    {
        "architecture": {"name": "resnet-8", "num_classes": 10, "input_size": 8, "options": {}},
        "budget": {"fraction": 0.75},
        "method": {"name": "superweights", "bins": 3, "search": False},
        "dataset": {"name": "digits", "train_images": 500, "test_images": 100},
        "training": {
            "epochs": 2,
            "batch_size": 32,
            "learning_rate": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "schedule": "step",
            "milestones": [0.3, 0.6],
            "crop_padding": "auto",
            "flip": False,
            "keep": "best",
        },
        "seed": 1,
        "labels": {"team": "vision", "owner": "me"},
    },
    {
        "networks": [
            {"name": "one", "architecture": {"name": "resnet-8", "options": {}}},
            {"name": "two", "architecture": "wrn-10-1"},
        ],
        "budget": 150_000,
        "method": "soft_sharing",
        "dataset": "digits",
    },
)


def paths(value, path=()):
    """Yield the path of everything in a document, the whole first."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield from paths(item, (*path, key))


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


PLACES = [(base, path) for base in range(len(BASES)) for path in paths(BASES[base])]
NASTY = (
    *(None, True, False, 0, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "1", "true", "null", "\0", "a\0b", "\ud800", "x\udfffy", "\u202e", "\U0001f600"),
    *("x" * 1000, "../../etc/passwd", "npz:../x", "'; DROP TABLE jobs;--", "{{7*7}}", "%s%n"),
    *("__class__", "torchvision:__import__", "resnet-9998", "wrn-28-10 ", "os.system", "auto"),
    *([], {}, [None], [[]], [1, 2, 3] * 50, {"name": {}}, {"": ""}, {"name": None}),
    *(nested(40), nested(900), {"a": {"b": {"c": nested(30)}}}),
)
VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    ),
)
KEYS = st.one_of(
    st.sampled_from(["", "name", "epoch", "parameters", "__proto__", "\0", "\ud800", "a/b~c"]),
    st.text(max_size=8),
)


@st.composite
def damaged(draw):
    """Draw a body, and the path of the one place where it was damaged."""
    base, path = draw(st.sampled_from(PLACES))
    document = copy.deepcopy(BASES[base])
    target = at(document, path)
    kind = draw(
        st.sampled_from(["replace", "replace", "replace", "remove", "add", "repeat", "tear"])
    )
    if kind == "tear":
        return torn(draw, json.dumps(document).encode()), ()
    if kind == "repeat" and isinstance(target, dict) and target:
        key = draw(st.sampled_from(sorted(target)))
        twice = json.dumps(target)[:-1] + "," + json.dumps({key: target[key]})[1:]
        whole = json.dumps(replaced(document, path, "HERE"))
        return whole.replace('"HERE"', twice).encode(), (*path, key)
    if kind == "remove" and path:
        del at(document, path[:-1])[path[-1]]
    elif kind == "add" and isinstance(target, dict):
        path = (*path, draw(KEYS))
        target[path[-1]] = draw(VALUES)
    else:
        document = replaced(document, path, draw(VALUES))
    return json.dumps(document).encode(), path


def torn(draw, content):
    """Cut a body short, or put a byte into it that is not UTF-8."""
    place = draw(st.integers(0, len(content) - 1))
    wrong = draw(st.sampled_from([b"", b"\xff", b"\x80", b"\xc3("]))
    return content[:place] + (wrong + content[place + 1 :] if wrong else b"")


def at(document, path):
    for key in path:
        document = document[key]
    return document


def replaced(document, path, value):
    if path:
        at(document, path[:-1])[path[-1]] = value
    return document if path else value


class Tally:
    """What was answered, and that each answer was as it must be."""

    def __init__(self):
        self.codes, self.jobs = Counter(), set()

    def add(self, answer):
        """Count an answer; returns the problem document of a refusal."""
        assert answer.status_code < 500, answer.text
        assert answer.headers["x-request-id"]
        document = answer.json()
        if answer.status_code == 202:
            self.codes["accepted"] += 1
            self.jobs.add(document["id"])
            return None
        assert answer.status_code >= 400
        assert "application/problem+json" in answer.headers["content-type"]
        assert (document["status"], document["type"]) == (
            answer.status_code,
            f"urn:npas:problem:{document['code']}",
        )
        assert document["errors"], document
        for error in document["errors"]:
            assert error["code"]
            assert error["message"]
            first = error["pointer"].split("/")[1:2]
            assert error["pointer"] == "" or first, error
        self.codes[document["code"]] += 1
        return document

    @property
    def refused(self):
        """How many requests were refused."""
        return self.codes.total() - self.codes["accepted"]


WHOLE = {"invalid_json", "too_deep", "infeasible_budget"}
"""Blame the whole body, or the budget for what another field makes impossible."""


def names(document, path):
    """Tell whether a problem blames the damaged place, something in it, or what holds it."""
    if {document["code"], *(error["code"] for error in document["errors"])} & WHOLE:
        return True
    # A name that became another known one decides which options beside it are allowed.
    damage = spec.pointer(*(path[:-1] if path[-1:] == ("name",) else path))
    for error in document["errors"]:
        pointer = error["pointer"]
        is_near = (damage + "/").startswith(pointer + "/") or pointer.startswith(damage + "/")
        if error["in"] == "body" and is_near and (pointer or len(path) < 2):
            return True
    return False


def harmed(tally):
    """Return the tables that lack a row of an accepted job, or have one of no such job."""
    with reading() as session:
        rows = {
            table.__tablename__: Counter(session.scalars(select(table.job_id)))
            for table in (Transition, Event, PlanVersion, OutboxMessage)
        }
        rows["jobs"] = Counter(session.scalars(select(Job.id)))
    return [name for name, found in rows.items() if found != Counter(tally.jobs)]


def send_damaged(client, tally):
    @settings(
        max_examples=NUM_DAMAGED,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged())
    def run(drawn):
        content, path = drawn
        headers = {"Content-Type": "application/json"}
        document = tally.add(client.post("/v1/jobs", content=content, headers=headers))
        assert document is None or names(document, path), (content, path, document)

    run()


def without_layers(document):
    """Leave the list of layers out of a schema: it holds itself, and takes gigabytes to draw from.

    tests/library/spec/test_declared.py damages lists of layers.
    """
    for schema in document["components"]["schemas"].values():
        schema.get("properties", {}).pop("layers", None)
    return document


def send_generated(url, tally):
    document = without_layers(requests.get(f"{url}/openapi.json", timeout=60).json())
    operation = schemathesis.openapi.from_dict(document)["/v1/jobs"]["POST"]
    session = requests.Session()

    @settings(
        max_examples=NUM_GENERATED,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def run(case):
        answer = case.call(base_url=url, session=session)
        case.validate_response(answer)
        tally.add(answer)

    with session:
        run()


def test_thousands_of_bad_requests_do_no_harm(store, url, client):
    assert store.is_dir()
    tally = Tally()
    send_damaged(client, tally)
    send_generated(url, tally)
    assert tally.refused >= NUM_BAD, tally.codes
    assert harmed(tally) == []
    assert client.get("/readyz").status_code == 200
