"""/livez and /readyz: for whatever watches over the process."""

from datetime import datetime

from fastapi import APIRouter, Request
from npas_store import broker, migrate, workers
from npas_store.database import reading
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError

from npas_api import errors
from npas_api.openapi import problems_of
from npas_api.schemas import Shape

router = APIRouter(tags=["health"])

_OK = "ok"


class Liveness(BaseModel):
    """The process answers."""

    status: str = "alive"


class WorkerSeen(Shape):
    """A worker that reported within the time of a lease."""

    name: str
    started_at: datetime
    seen_at: datetime
    trouble: str | None = Field(description="why it stepped aside; null: it takes jobs")


class Readiness(BaseModel):
    """The service can take jobs; it can run them if there are workers."""

    status: str = "ready"
    checks: dict[str, str]
    workers: list[WorkerSeen] = Field(description="none without trouble: jobs are taken, and wait")


@router.get("/livez")
async def livez() -> Liveness:
    """Tell that the process answers. A sick database is no reason to restart it.

    It needs no thread: those may all wait for the database.
    """
    return Liveness()


@router.get("/readyz", responses=problems_of(errors.NotReadyError))
def readyz(request: Request) -> Readiness:
    """Tell whether database, schema, broker and planner are ready, and which workers there are."""
    planner = _OK if request.app.state.planner.is_ready else "is starting"
    checks = {**_database(), "broker": _broker(), "planner": planner}
    bad = {name: told for name, told in checks.items() if told != _OK}
    if bad:
        detail = "; ".join(f"{name}: {told}" for name, told in bad.items())
        raise errors.NotReadyError(
            detail, headers={"Retry-After": "2"}, members={"checks": checks}
        )
    with reading() as session:
        seen = [WorkerSeen.model_validate(row) for row in workers.present(session)]
    return Readiness(checks=checks, workers=seen)


def _database() -> dict[str, str]:
    try:
        migrate.require()
    except OperationalError:
        return {"database": "does not answer", "schema": "unknown"}
    except migrate.SchemaError as error:
        return {"database": _OK, "schema": str(error)}
    return {"database": _OK, "schema": _OK}


def _broker() -> str:
    try:
        broker.waiting()
    except broker.BrokerDownError:
        return "does not answer"
    return _OK
