"""Errors survive the way from one process to another, as pools send them."""

import importlib
import inspect
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import npas
import npas.errors
import npas_api
import npas_client
import npas_store
import npas_worker
import pytest

PACKAGES = (npas, npas_store, npas_api, npas_worker, npas_client)
MADE = {
    "npas.errors.UnknownNameError": lambda cls: cls(
        "method", "sns", ["ssn", "dense"], ["ssn"], advice="read the list", field="/method"
    ),
    "npas.errors.InfeasibleBudgetError": lambda cls: cls(
        method="ssn", budget=5, minimum=9, alternatives={"narrow": 3}, unshared=2
    ),
    "npas.errors": lambda cls: cls("wrong", field="/budget"),
    "npas_client.errors": lambda cls: cls(
        "refused", status=422, problem={"code": "infeasible_budget", "minimum": 7}
    ),
    "npas_api.errors": lambda cls: cls("gone", headers={"Allow": "GET"}, members={"minimum": 7}),
}


def classes():
    """Yield every exception class of ours once."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            module = importlib.import_module(found.name)
            for _, cls in inspect.getmembers(module, inspect.isclass):
                if issubclass(cls, BaseException) and cls.__module__ == found.name:
                    yield cls


def made(cls):
    ways = (f"{cls.__module__}.{cls.__name__}", cls.__module__)
    return next((MADE[way] for way in ways if way in MADE), lambda cls: cls("wrong"))(cls)


@pytest.mark.parametrize("cls", sorted(classes(), key=lambda cls: (cls.__module__, cls.__name__)))
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_error_comes_back_as_it_was(cls, protocol):
    error = made(cls)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def refuse(architecture, budget):
    return npas.plan(architecture, budget=budget)


@pytest.mark.slow
def test_error_of_a_process_in_a_pool_is_the_callers():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(npas.errors.UnknownNameError, match="did you mean resnet-20"):
            pool.submit(refuse, "resnt-20", 10_000).result()
        with pytest.raises(npas.errors.InfeasibleBudgetError) as found:
            pool.submit(refuse, "resnet-20", 10).result()
    assert found.value.budget == 10
