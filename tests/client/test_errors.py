"""Refusals become the error a caller can act on."""

import httpx
import pytest
from npas_client import errors


def problem(status, **members):
    return httpx.Response(status, json={"title": "A title", "status": status, **members})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (410, errors.NotFoundError),
        (422, errors.InvalidRequestError),
        (503, errors.UnavailableError),
        (500, errors.ServiceError),
    ],
)
def test_from_response_chooses_by_status(status, kind):
    assert type(errors.from_response(problem(status))) is kind


def test_from_response_says_what_to_do_and_names_the_request():
    error = errors.from_response(problem(404, detail="there is no job", request_id="r1"))
    assert str(error) == "there is no job [request r1]"
    assert (error.status, error.request_id) == (404, "r1")


def test_from_response_keeps_the_faults():
    fault = {"in": "body", "pointer": "/budget", "code": "missing", "message": "is missing"}
    error = errors.from_response(problem(422, code="invalid_request", errors=[fault]))
    assert (error.code, error.errors) == ("invalid_request", [fault])


def test_infeasible_budget_knows_the_minimum_and_the_alternatives():
    body = {"code": "infeasible_budget", "minimum": 900, "alternatives": {"other": 500}}
    error = errors.from_response(problem(422, **body))
    assert type(error) is errors.InfeasibleBudgetError
    assert (error.minimum, error.alternatives) == (900, {"other": 500})


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[]", b""])
def test_from_response_survives_a_page_that_is_no_problem_document(body):
    error = errors.from_response(httpx.Response(502, content=body))
    assert (type(error), str(error)) == (errors.UnavailableError, "Bad Gateway")
