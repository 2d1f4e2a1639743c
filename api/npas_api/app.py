"""The application: routes, what is around them, and what runs beside them."""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import npas
from fastapi import FastAPI
from npas.delivery.report import Report
from npas.plans import Plan
from npas.spec import JobSpec
from npas.spec.export import ExportSpec
from npas.spec.sweep import SweepSpec

from npas_api import (
    artifacts,
    catalogues,
    dataset_shapes,
    datasets,
    deletion,
    descendants,
    ensembles,
    events,
    exports,
    frontiers,
    health,
    job_changes,
    job_log,
    jobs,
    metrics,
    openapi,
    plans,
    problems,
    receiving,
    results,
    schemas,
    sweep_tables,
    sweeps,
)
from npas_api.background import CHORES, BackgroundLoop
from npas_api.estimates import Estimator
from npas_api.hub import Hub
from npas_api.middleware import RequestContext
from npas_api.origins import OwnOrigin
from npas_api.planning import Planner

_DESCRIPTION = "Give it a network and a parameter budget; get back a trained network that fits."

_PARTS = (
    *(plans, jobs, job_changes, job_log, descendants, deletion, events),
    *(ensembles, metrics, artifacts, exports, results, sweeps, frontiers, sweep_tables),
    *(catalogues, datasets, receiving, health),
)
"""Modules with routes."""


def create_app(*, chores: Sequence[Callable[[], BackgroundLoop]] = CHORES) -> FastAPI:
    """Return the application; it reads the settings when it is served.

    Args:
        chores: what runs beside it. Any number of processes may do them, one must.
    """
    app = FastAPI(
        title="npas",
        version=npas.__version__,
        description=_DESCRIPTION,
        lifespan=functools.partial(_lifespan, chores=chores),
        redirect_slashes=False,
        openapi_url="/openapi.json",
        docs_url=None,  # its page would load scripts from a stranger's server
        redoc_url=None,
    )
    app.state.hub = Hub()
    app.state.estimator = Estimator()
    for part in _PARTS:
        app.include_router(part.router)
    problems.handle_errors(app)
    bodies = (
        *(JobSpec, SweepSpec),
        *(plans.PlanBody, job_changes.JobPatch, dataset_shapes.DatasetRequest),
        *(descendants.JobMergePatch, descendants.Continuation, ExportSpec),
    )
    openapi.complete(app, models=(*bodies, Plan, Report, schemas.Estimate, schemas.Offer))
    app.add_middleware(OwnOrigin)
    app.add_middleware(RequestContext)  # the outermost: refusals have an id, too
    return app


@asynccontextmanager
async def _lifespan(
    app: FastAPI, *, chores: Sequence[Callable[[], BackgroundLoop]]
) -> AsyncIterator[None]:
    app.state.planner = Planner()
    app.state.planner.start()
    app.state.hub.start()
    app.state.loops = [chore() for chore in chores]
    for loop in app.state.loops:
        loop.start()
    try:
        yield
    finally:
        await app.state.hub.stop()
        for loop in app.state.loops:
            loop.stop()
        await app.state.planner.stop()
