"""The application: routes, what is around them, and what runs beside them."""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import npas
from fastapi import FastAPI
from npas.spec import JobSpec
from npas_store.settings import settings

from npas_api import (
    artifacts,
    catalogues,
    events,
    health,
    jobs,
    loops,
    metrics,
    openapi,
    plans,
    problems,
    results,
)
from npas_api.middleware import RequestContext
from npas_api.planning import Planner, warm_up

_DESCRIPTION = "Give it a network and a parameter budget; get back a trained network that fits."


def create_app() -> FastAPI:
    """Return the application; it reads the settings, and starts its chores when it is served."""
    app = FastAPI(
        title="npas",
        version=npas.__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,
        openapi_url="/openapi.json",
        docs_url=None,  # its page would load scripts from a stranger's server
        redoc_url=None,
    )
    app.state.closing = threading.Event()
    for part in (plans, jobs, events, metrics, artifacts, results, catalogues, health):
        app.include_router(part.router)
    problems.handle_errors(app)
    openapi.complete(app, bodies=(JobSpec, plans.PlanBody))
    app.add_middleware(RequestContext)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    if settings().data_folder is not None:
        os.environ["NPAS_DATA"] = str(settings().data_folder)
    app.state.planner = Planner()
    app.state.relay = loops.relay()
    chores = [app.state.relay, loops.reaping()]
    warm_up()
    for chore in chores:
        chore.start()
    try:
        yield
    finally:
        app.state.closing.set()
        for chore in chores:
            chore.stop()
