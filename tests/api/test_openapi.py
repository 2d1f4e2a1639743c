"""The OpenAPI document says what the service does."""

import pytest

ROUTES = {
    "/livez": {"get"},
    "/readyz": {"get"},
    "/v1/architectures": {"get"},
    "/v1/datasets": {"get"},
    "/v1/jobs": {"get", "post"},
    "/v1/jobs/{job_id}": {"get"},
    "/v1/jobs/{job_id}/artifacts": {"get"},
    "/v1/jobs/{job_id}/artifacts/{name}": {"get"},
    "/v1/jobs/{job_id}/cancel": {"post"},
    "/v1/jobs/{job_id}/events": {"get"},
    "/v1/jobs/{job_id}/metrics": {"get"},
    "/v1/jobs/{job_id}/plan": {"get"},
    "/v1/methods": {"get"},
    "/v1/plans": {"post"},
    "/v1/results": {"get"},
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


def test_the_example_is_a_job_that_is_taken(document, store, client):
    assert store.is_dir()
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]
    assert client.post("/v1/jobs", json=example).status_code == 202
