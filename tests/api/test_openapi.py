"""The OpenAPI document says what the service does."""

import json

import pytest
from jsonschema_rs import Draft202012Validator, ValidationError
from npas.delivery.report import Report
from npas.run import run
from npas.spec import JobSpec

ROUTES = {
    "/livez": {"get"},
    "/readyz": {"get"},
    "/v1/architectures": {"get"},
    "/v1/datasets": {"get", "post"},
    "/v1/datasets/{dataset_id}": {"get", "delete"},
    "/v1/datasets/{dataset_id}/content": {"get", "put"},
    "/v1/datasets/{dataset_id}/thumbnails": {"get"},
    "/v1/jobs": {"get", "post"},
    "/v1/jobs/{job_id}": {"get", "patch", "delete"},
    "/v1/jobs/{job_id}/artifacts": {"get"},
    "/v1/jobs/{job_id}/artifacts/{name}": {"get"},
    "/v1/jobs/{job_id}/cancel": {"post"},
    "/v1/jobs/{job_id}/clone": {"post"},
    "/v1/jobs/{job_id}/continue": {"post"},
    "/v1/jobs/{job_id}/ensemble": {"get"},
    "/v1/jobs/{job_id}/events": {"get"},
    "/v1/jobs/{job_id}/exports": {"get", "post"},
    "/v1/jobs/{job_id}/exports/{export_id}": {"get"},
    "/v1/jobs/{job_id}/metrics": {"get"},
    "/v1/jobs/{job_id}/plan": {"get"},
    "/v1/jobs/{job_id}/log": {"get"},
    "/v1/jobs/{job_id}/retry": {"post"},
    "/v1/methods": {"get"},
    "/v1/plans": {"post"},
    "/v1/results": {"get"},
    "/v1/sweeps": {"get", "post"},
    "/v1/sweeps/{sweep_id}": {"delete", "get"},
    "/v1/sweeps/{sweep_id}/cancel": {"post"},
    "/v1/sweeps/{sweep_id}/frontier": {"get"},
    "/v1/sweeps/{sweep_id}/frontier.svg": {"get"},
    "/v1/sweeps/{sweep_id}/results.csv": {"get"},
}


@pytest.fixture(scope="module")
def document(client):
    return client.get("/openapi.json").json()


def operations(document):
    for path in document["paths"].values():
        yield from path.values()


def test_document_lists_every_route(document):
    assert {path: set(item) for path, item in document["paths"].items()} == ROUTES


def test_every_refusal_is_a_problem_document(document):
    for operation in operations(document):
        refusals = {s: r for s, r in operation["responses"].items() if s >= "400"}
        assert "500" in refusals or operation["tags"] == ["health"]
        for refusal in refusals.values():
            schema = refusal["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}


def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]

    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            value = list(value.values())
        for item in value if isinstance(value, list) else ():
            yield from references(item)

    found = set(references(document))
    assert found
    assert {name.removeprefix("#/components/schemas/") for name in found} <= schemas.keys()


def test_bodies_are_described_by_the_librarys_models(document):
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]
    assert body["required"]
    assert body["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/JobSpec"
    }
    assert "epochs" in document["components"]["schemas"]["TrainingSpec"]["properties"]


def test_answers_are_described_by_the_librarys_models(document):
    schemas = document["components"]["schemas"]
    job = schemas["Job"]["properties"]
    assert job["spec"]["allOf"] == [{"$ref": "#/components/schemas/JobSpec"}]
    report = {"allOf": [{"$ref": "#/components/schemas/Report"}]}
    assert job["result"]["anyOf"] == [report, {"type": "null"}]
    plan = {"$ref": "#/components/schemas/Plan"}
    dry_run, of_job = (
        document["paths"][path][method]["responses"]["200"]["content"]["application/json"]
        for path, method in (("/v1/plans", "post"), ("/v1/jobs/{job_id}/plan", "get"))
    )
    assert of_job["schema"]["anyOf"][0] == dry_run["schema"]["anyOf"][0] == plan
    assert dry_run["schema"]["anyOf"][1]["properties"]["plan"] == plan
    assert of_job["schema"]["anyOf"][1]["properties"] == {
        "plan": plan,
        "allocation": {"$ref": "#/components/schemas/AllocationReport"},
    }
    assert "groups" in schemas["Plan"]["properties"]
    assert "accuracy" in schemas["Report"]["properties"]


@pytest.fixture(scope="module")
def check(document):
    """Check an answer against a schema of the document."""

    def against(name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(value)

    return against


REQUESTS = [
    {"method": "dense", "budget": {"fraction": 1}},
    {"method": "block_mix", "training": {"epochs": 2, "distillation": "dense"}},
    {"method": {"name": "auto", "methods": ["uniform", "random"]}},
    {"method": {"name": "soft_sharing", "fold": 0.5}, "budget": {"fraction": 0.8}},
]


@pytest.mark.parametrize("changes", REQUESTS, ids=lambda changes: str(changes["method"]))
def test_what_a_job_answers_validates_against_the_document(
    check, changes, submit, client, tmp_path, deliver
):
    """The report is one that the library made of this very job."""
    small = {"name": "digits", "train_images": 60, "test_images": 20}
    asked = {"dataset": small, "architecture": "resnet-14", "training": {"epochs": 1}} | changes
    job = submit(**asked)
    check("Job", job)
    check("Plan", client.get(job["urls"]["plan"]).json())
    spec = JobSpec.model_validate_json(json.dumps(job["spec"]))
    outcome = run(spec, folder=tmp_path, device="cpu")
    assert not Report.model_validate(outcome.report).model_extra
    deliver(**outcome.report)
    check("Job", client.get(job["urls"]["self"]).json())
    check("Plan", json.loads(outcome.plan.to_json()))


def test_schemas_refuse_what_is_no_job(check, submit):
    job = submit()
    with pytest.raises(ValidationError, match='"budget" is a required property'):
        check("Job", job | {"spec": {"architecture": {"name": "resnet-8"}}})
    with pytest.raises(ValidationError, match="not valid under any of the schemas"):
        check("Job", job | {"result": {"accuracy": 1.0}})


SHORTHANDS = [
    {"architecture": "resnet-8"},
    {"budget": 5_000},
    {"method": "ssn"},
    {"dataset": "digits"},
    {"training": {"distillation": "dense"}},
]


@pytest.mark.parametrize("changes", SHORTHANDS, ids=lambda changes: next(iter(changes)))
def test_what_stands_for_a_whole_is_described(check, document, changes):
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    check("JobSpec", body["example"] | changes)


def test_the_example_is_a_job_that_is_taken(document, store, client):
    assert store.is_dir()
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]
    assert client.post("/v1/jobs", json=example).status_code == 202
