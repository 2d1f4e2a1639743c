"""Results across jobs: sorted, filtered, paged."""

import base64

import pytest

DELIVERED = [(0.5, 60_000, "dense"), (0.9, 50_000, "superweights"), (0.75, 40_000, "superweights")]


@pytest.fixture
def delivered(submit, deliver):
    """Three results, one failure and one job that waits; the accuracies in order of creation."""
    for seed, (accuracy, parameters, method) in enumerate(DELIVERED):
        submit(seed=seed, method=method, budget={"fraction": 1.0}, labels={"seed": str(seed)})
        deliver(accuracy=accuracy, parameters=parameters)
    submit(seed=3)
    deliver("failed")
    submit(seed=4)
    return [accuracy for accuracy, _, _ in DELIVERED]


def accuracies(answer):
    return [row["accuracy"] for row in answer.json()["data"]]


def test_results_are_the_most_accurate_first(delivered, client):
    answer = client.get("/v1/results")
    assert accuracies(answer) == sorted(delivered, reverse=True)
    best = answer.json()["data"][0]
    assert (best["parameters"], best["method"], best["dataset"]) == (
        50_000,
        "superweights",
        "digits",
    )
    assert client.get(best["urls"]["self"]).json()["id"] == best["job_id"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("accuracy", [0.5, 0.75, 0.9]),
        ("-accuracy", [0.9, 0.75, 0.5]),
        ("parameters", [0.75, 0.9, 0.5]),
        ("-parameters", [0.5, 0.9, 0.75]),
        ("finished_at", [0.5, 0.9, 0.75]),
        ("-finished_at", [0.75, 0.9, 0.5]),
    ],
)
@pytest.mark.usefixtures("delivered")
def test_results_sort_and_page(client, sort, expected):
    assert accuracies(client.get(f"/v1/results?sort={sort}")) == expected
    seen, url = [], f"/v1/results?sort={sort}&limit=1"
    while url:
        answer = client.get(url)
        seen += accuracies(answer)
        url = answer.links.get("next", {}).get("url")
    assert seen == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("max_parameters=50000", [0.9, 0.75]),
        ("max_parameters=39999", []),
        ("min_accuracy=0.75", [0.9, 0.75]),
        ("method=dense", [0.5]),
        ("architecture=resnet-8", [0.9, 0.75, 0.5]),
        ("architecture=resnet-14", []),
        ("dataset=digits", [0.9, 0.75, 0.5]),
        ("label[seed]=2", [0.75]),
        ("method=superweights&max_parameters=45000&min_accuracy=0.5", [0.75]),
    ],
)
@pytest.mark.usefixtures("delivered")
def test_results_filter(client, query, expected):
    assert accuracies(client.get(f"/v1/results?{query}")) == expected


@pytest.mark.usefixtures("store")
def test_results_of_equal_accuracy_appear_once_each(submit, deliver, client):
    for seed in range(5):
        submit(seed=seed)
        deliver(accuracy=0.5)
    seen, url = [], "/v1/results?limit=2"
    while url:
        answer = client.get(url)
        seen += [row["job_id"] for row in answer.json()["data"]]
        url = answer.links.get("next", {}).get("url")
    assert len(seen) == len(set(seen)) == 5


def test_results_hold_what_a_cancelled_job_saved(submit, deliver, client):
    submit()
    deliver("cancelled", accuracy=0.25)
    (row,) = client.get("/v1/results").json()["data"]
    assert (row["state"], row["accuracy"]) == ("cancelled", 0.25)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("max_parameters=0", "/max_parameters"),
        ("max_parameters=few", "/max_parameters"),
        (f"max_parameters={'9' * 30}", "/max_parameters"),
        ("min_accuracy=1.5", "/min_accuracy"),
        ("min_accuracy=nan", "/min_accuracy"),
        ("sort=name", "/sort"),
        ("state=queued", "/state"),
    ],
)
def test_results_refuse_what_they_cannot_use(client, query, pointer):
    answer = client.get(f"/v1/results?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize("value", ["1e308", "9223372036854775808", "0.5", "NaN", "true", '"1"'])
def test_a_made_up_cursor_is_refused_before_the_database_sees_it(client, value):
    place = f'["parameters",true,{value},"job_{"0" * 32}"]'
    cursor = base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")
    answer = client.get("/v1/results", params={"after": cursor, "sort": "-parameters"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/after")
