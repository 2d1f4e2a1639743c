"""Whatever goes wrong, the answer is a problem document that says what and where."""

import re

import pytest
from npas_api import errors, health, planning, request_body
from npas_store import broker, database

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}


def problem(answer, status, code):
    """Return the problem document, having checked what all of them have in common."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document.keys() >= MEMBERS
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"urn:npas:problem:{code}"
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["detail"]
    for error in document["errors"]:
        assert error.keys() == {"in", "pointer", "code", "message"}
        assert error["pointer"] == "" or error["pointer"].startswith("/")
        assert error["message"]
    return document


def pointers(document):
    return [error["pointer"] for error in document["errors"]]


def send(client, content, kind="application/json"):
    return client.post("/v1/jobs", content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/jobs", "/v1/jobs/", "/v1/nothing", "/docs", "/%00"]
)
def test_an_unknown_address_is_404(client, path):
    document = problem(client.get(path), 404, "not_found")
    assert document["instance"] in (path, "/\0")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("DELETE", "/v1/plans", "POST"),
        ("POST", "/livez", "GET"),
        ("GET", f"/v1/jobs/job_{'0' * 32}/cancel", "POST"),
        ("PATCH", f"/v1/jobs/job_{'0' * 32}/artifacts/x", "GET, HEAD"),
        ("PROPFIND", "/v1/jobs", "GET, POST"),
    ],
)
def test_another_method_is_405_and_names_those_allowed(client, method, path, allowed):
    answer = client.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/json;q=0", "image/*", "nonsense", "application/jsonp, a/b"],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/results", "/v1/methods"])
def test_an_answer_that_the_client_does_not_take_is_406(client, accept, path):
    document = problem(client.get(path, headers={"Accept": accept}), 406, "not_acceptable")
    assert (document["errors"][0]["in"], pointers(document)) == ("header", ["/accept"])


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "",
        "application/json",
        "application/*",
        "text/html, */*;q=0.1",
        "APPLICATION/JSON;Q=0.5",
    ],
)
def test_an_answer_that_the_client_takes_is_sent(client, accept):
    assert client.get("/v1/jobs", headers={"Accept": accept}).status_code == 200


def test_a_body_of_another_type_is_415(client):
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        answer = send(client, b"{}", kind)
        document = problem(answer, 415, "unsupported_media_type")
        assert pointers(document) == ["/content-type"]
        assert answer.headers["accept"] == "application/json"


def test_json_with_a_charset_is_read(client):
    document = problem(
        send(client, b"{}", "Application/JSON; charset=utf-8"), 422, "invalid_request"
    )
    assert set(pointers(document)) == {"/dataset", "/budget"}


def test_a_body_too_large_is_413_however_it_is_sent(client):
    content = b'{"labels": {"a": "%s"}}' % (b"x" * request_body.MAX_BYTES)
    pieces = (content[i : i + 65536] for i in range(0, len(content), 65536))
    problem(send(client, content), 413, "body_too_large")
    problem(send(client, pieces), 413, "body_too_large")


def test_a_large_body_that_is_allowed_is_read(client):
    content = b'{"labels": {"a": "%s"}}' % (b"x" * (request_body.MAX_BYTES - 100))
    assert "/labels/a" in pointers(problem(send(client, content), 422, "invalid_request"))


@pytest.mark.parametrize("content", [b"", b"{", b"[1,]", b"\xff\xfe", b"{} {}", b"'", b"\x00"])
def test_a_body_that_is_not_json_is_400(client, content):
    document = problem(send(client, content), 400, "invalid_json")
    assert pointers(document) == [""]


@pytest.mark.parametrize("content", [b"null", b"[]", b'"wrn-28-10"', b"1", b"true", b"[{}]"])
def test_a_body_that_is_not_an_object_is_422(client, content):
    document = problem(send(client, content), 422, "invalid_request")
    assert pointers(document) == [""]


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"architecture": None}, "", "value_error"),
        ({"architecture": "wrn 28"}, "/architecture", "string_pattern_mismatch"),
        ({"architecture": {"name": "x", "depth": 3}}, "/architecture/depth", "extra_forbidden"),
        (
            {"architecture": {"name": "resnet-8", "options": {"a b": 1}}},
            "/architecture/options/a b",
            "string_pattern_mismatch",
        ),
        (
            {"architecture": {"name": "resnet-8", "options": {"x": [1]}}},
            "/architecture/options/x",
            "bool_type",
        ),
        (
            {"architecture": {"name": "resnet-8", "input_size": 3}},
            "/architecture/input_size",
            "greater_than_equal",
        ),
        ({"networks": []}, "/networks", "too_short"),
        (
            {"networks": [{"name": "a b", "architecture": "resnet-8"}]},
            "/networks/0/name",
            "string_pattern_mismatch",
        ),
        ({"networks": [{"name": "a"}]}, "/networks/0/architecture", "missing"),
        ({"budget": 0}, "/budget", "greater_than_equal"),
        ({"budget": "small"}, "/budget", "model_type"),
        ({"budget": True}, "/budget", "model_type"),
        ({"budget": {}}, "/budget", "value_error"),
        ({"budget": {"parameters": 5, "fraction": 0.5}}, "/budget", "value_error"),
        ({"budget": {"parameters": 1.5}}, "/budget/parameters", "int_type"),
        ({"budget": 10**18}, "/budget", "less_than_equal"),
        ({"dataset": None}, "/dataset", "model_type"),
        (
            {"dataset": {"name": "digits", "path": "/etc/passwd"}},
            "/dataset/path",
            "extra_forbidden",
        ),
        ({"training": {"epochs": "3"}}, "/training/epochs", "int_type"),
        ({"training": {"epochs": True}}, "/training/epochs", "int_type"),
        ({"training": {"milestones": [0.5, 2]}}, "/training/milestones/1", "less_than"),
        ({"training": {"schedule": "linear"}}, "/training/schedule", "literal_error"),
        ({"training": {"crop_padding": 65}}, "/training/crop_padding", "value_error"),
        ({"seed": -1}, "/seed", "greater_than_equal"),
        ({"labels": {"a": 1}}, "/labels/a", "string_type"),
        ({"labels": {"a b": "x"}}, "/labels", "value_error"),
        ({"labels": {str(i): "" for i in range(17)}}, "/labels", "too_long"),
        ({"hyper~/parameters": 1}, "/hyper~0~1parameters", "extra_forbidden"),
    ],
)
def test_a_field_that_is_wrong_is_named(client, asked, changes, pointer, code):
    body = {key: value for key, value in {**asked, **changes}.items() if value is not None}
    if "networks" in changes:
        del body["architecture"]
    if changes == {"dataset": None}:
        body["dataset"] = None
    document = problem(client.post("/v1/jobs", json=body), 422, "invalid_request")
    assert [(error["pointer"], error["code"]) for error in document["errors"]] == [(pointer, code)]
    assert {error["in"] for error in document["errors"]} == {"body"}


@pytest.mark.parametrize(
    ("changes", "pointer", "allowed"),
    [
        ({"budget": "small"}, "/budget", 'a count of parameters, {"fraction": 0.25} for'),
        ({"budget": 1.5}, "/budget", 'a count of parameters, {"fraction": 0.25} for'),
        ({"budget": {"fraction": 11}}, "/budget/fraction", "less than or equal to 10"),
        ({"method": ["ssn"]}, "/method", 'a name, such as "block_mix", or {"name": "block_mix"}'),
        ({"method": {"method": "ssn"}}, "/method/name", 'or {"name": "block_mix"}'),
        ({"method": {"name": {"name": "ssn"}}}, "/method/name", "a valid string"),
        ({"dataset": 3}, "/dataset", 'a name, such as "digits", or {"name": "digits"}'),
        ({"training": "long"}, "/training", '{"epochs": 20}'),
        ({"training": {"distillation": 3}}, "/training/distillation", '"checkpoint:NAME"'),
        ({"networks": "resnet-8"}, "/networks", "give a list"),
        ({"networks": ["a"]}, "/networks/0", '{"name": "a", "architecture": "wrn-16-2"}'),
    ],
)
def test_a_form_that_is_wrong_is_answered_with_those_that_are_right(
    client, asked, changes, pointer, allowed
):
    document = problem(client.post("/v1/jobs", json={**asked, **changes}), 422, "invalid_request")
    told = {error["pointer"]: error["message"] for error in document["errors"]}
    assert allowed in told[pointer]


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"architecture": {"name": "resnet-7"}}, "/architecture", "invalid_spec"),
        ({"architecture": {"name": "resnett-8"}}, "/architecture", "unknown_name"),
        ({"architecture": {"name": "os.system"}}, "/architecture", "unknown_name"),
        (
            {"architecture": {"name": "resnet-8", "options": {"x": 1}}},
            "/architecture",
            "invalid_spec",
        ),
        (
            {"architecture": {"name": "resnet-8", "num_classes": 3}},
            "/architecture",
            "invalid_spec",
        ),
        ({"architecture": {"name": "resnet-9998"}}, "/architecture", "invalid_spec"),
        ({"architecture": {"name": "wrn-28-999"}}, "/architecture", "invalid_spec"),
        ({"method": {"name": "superwaits"}}, "/method", "unknown_name"),
        ({"method": {"name": "superweights", "bins": "many"}}, "/method", "invalid_spec"),
        ({"method": {"name": "superweights", "bin": 3}}, "/method", "invalid_spec"),
        ({"dataset": {"name": "digit"}}, "/dataset", "unknown_name"),
        ({"dataset": {"name": "npz:../../etc/passwd"}}, "/dataset", "invalid_request"),
        ({"dataset": {"name": "npz:nothing"}}, "/dataset", "dataset_unusable"),
        ({"budget": 1}, "/budget", "infeasible_budget"),
    ],
)
def test_what_the_library_refuses_is_named(client, asked, changes, pointer, code):
    for path in ("/v1/jobs", "/v1/plans"):
        document = problem(client.post(path, json={**asked, **changes}), 422, code)
        assert pointers(document)[0].startswith(pointer)


def test_the_librarys_errors_have_one_code_everywhere():
    codes = {code: errors.code(refusal) for code, refusal in errors.LIBRARY.items()}
    assert list(codes) == list(codes.values())


def test_text_that_cannot_be_sent_is_shown_escaped(client):
    answer = send(client, b'{"budget": 5, "\\ud800\\u0000": 1}')
    document = problem(answer, 422, "invalid_request")
    assert len(document["errors"]) == 1
    assert answer.content.isascii()


def test_a_request_id_of_the_client_is_kept(client):
    answer = client.get("/livez", headers={"X-Request-Id": "trace-1:a.b_c"})
    assert answer.headers["x-request-id"] == "trace-1:a.b_c"


@pytest.mark.parametrize("given", ["two words", "x" * 65, "a/b", "<script>"])
def test_a_request_id_that_could_do_harm_is_replaced(client, given):
    answer = client.get("/livez", headers={"X-Request-Id": given})
    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])


def test_request_ids_differ(client):
    assert len({client.get("/livez").headers["x-request-id"] for _ in range(10)}) == 10


def test_what_nobody_foresaw_is_500_without_its_text(client, monkeypatch):
    def fail(_):
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(health.workers, "present", fail)
    answer = client.get("/readyz")
    problem(answer, 500, "internal")
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text


def test_without_a_database_the_answer_is_503(client, asked, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("NPAS_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
        database.forget()
        database.settings.cache_clear()
        answers = [client.get("/v1/jobs"), client.post("/v1/jobs", json=asked)]
        ready = client.get("/readyz")
    database.forget()
    database.settings.cache_clear()
    for answer in answers:
        problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "2"
    checks = problem(ready, 503, "not_ready")["checks"]
    assert (checks["database"], checks["schema"]) == ("does not answer", "unknown")
    assert (checks["broker"], checks["planner"]) == ("ok", "ok")
    assert client.get("/livez").status_code == 200


def test_without_a_broker_it_is_not_ready_but_takes_jobs(store, client, asked, monkeypatch):
    assert store.is_dir()
    with monkeypatch.context() as patch:
        patch.setenv("NPAS_REDIS_URL", "unix:///nowhere/redis.sock")
        broker.settings.cache_clear()
        ready = client.get("/readyz")
        taken = client.post("/v1/jobs", json=asked)
    broker.settings.cache_clear()
    checks = problem(ready, 503, "not_ready")["checks"]
    assert checks.pop("broker") == "does not answer"
    assert set(checks.values()) == {"ok"}
    assert taken.status_code == 202


def test_too_many_plans_at_once_are_put_off(client, asked, monkeypatch):
    monkeypatch.setattr(planning, "MAX_WAITING", 0)
    answer = client.post("/v1/plans", json=asked)
    problem(answer, 503, "busy")
    assert answer.headers["retry-after"] == "5"
